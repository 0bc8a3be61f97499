"""How a run ended: complete, degraded with counts and reasons, or failed with the cause; derived, never set."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from camlink.runtime.states import RunState
from camlink.runtime.status import LinkStatus, OperatorStatus, Verdict

FRAME_BLOCKS: Final = ("Frames", "RawFrames", "CountFrames")


class Judged(NamedTuple):
    """The verdict as it would be now, its reasons, and where every frame is."""

    verdict: Verdict
    reasons: tuple[str, ...]
    frames: dict[str, Any]


def judge(state: RunState, operators: tuple[OperatorStatus, ...], links: tuple[LinkStatus, ...]) -> Judged:
    """The verdict over the state of a run."""
    frames = count_frames(operators, links, ended=state.phase == "over" and not state.stopped)
    fell = [o for o in operators if o.state == "failed"]
    # who fell with others says nothing new
    causes = [o for o in fell if o.text and not o.given_up and o.text not in state.troubles]
    if not causes and not state.troubles:
        causes = fell
    failed = list(dict.fromkeys([*state.troubles, *(f"{o.name}: {o.text}" for o in causes if o.kind != "view")]))
    if state.phase == "over":
        failed += _broken_law(links)
        if not state.troubles and frames["expected"] and not frames["captured"]:
            failed.append("no frame was captured")
    degraded = [f"stopped: {state.stopped}"] if state.stopped and not state.troubles else []
    degraded += state.notes
    degraded += [f"{o.name}: {o.text}" for o in causes if o.kind == "view" and o.text]
    degraded += _frame_troubles(frames, state.phase == "over")
    degraded += [f"{o.name}: {w.text}" for o in operators if o.state != "failed"
                 for w in state.at(o.name) if w.state == "failed"]
    degraded += [f"{w.spec.operator}: could not have been replaced ({w.unkept})"
                 for w in state.workers.values() if w.unkept]
    degraded += [f"link {link.name}: {note}" for link in links for note in link.notes if note.startswith("spill:")]
    for operator in operators:
        warnings = operator.facts.get("warnings", [])
        degraded += [f"{operator.name}: {w}" for w in (warnings if isinstance(warnings, list) else [str(warnings)])]
    verdict: Verdict = "failed" if failed else "degraded" if degraded else "complete"
    return Judged(verdict, (*failed, *degraded), frames)


def count_frames(operators: tuple[OperatorStatus, ...], links: tuple[LinkStatus, ...], *,
                 ended: bool = False) -> dict[str, Any]:
    """Where every frame of the scan is: expected = delivered + dropped + lost + in flight, once the run is over."""
    sources = [o for o in operators if "frames_expected" in o.facts]
    names = {o.name for o in sources}
    views = {o.name for o in operators if o.kind == "view"}
    links = tuple(link for link in links if link.block in FRAME_BLOCKS)
    lost: dict[str, int] = {}
    for operator in sources:
        _add(lost, operator.facts.get("frames_lost", {}))
    expected = sum(int(o.facts["frames_expected"]) for o in sources)
    at_most = expected - sum(lost.values()) if expected else 1 << 62  # a frame that a source gave twice counts once
    aside = {f"set aside by {o.name}: {reason}": n for o in operators for reason, n in o.aside.items()}
    _add(lost, aside)
    forgotten = {o.name: o.forgotten for o in operators if o.forgotten and o.kind != "view"}
    if forgotten:  # the same frames, where several forgot
        lost[f"forgotten by {', '.join(forgotten)}, whose journal is gone"] = max(forgotten.values())
    in_flight, dropped = 0, dict[str, int]()
    for link in links:
        if link.target not in views:
            _add(lost, {f"{link.name}: {reason}": n for reason, n in link.lost.items()})
            _add(dropped, link.dropped)
            in_flight = max(in_flight, link.in_flight)
    told = sum(int(o.facts.get("frames_captured", 0)) for o in sources)
    sent = max([told, *(link.sent for link in links if link.source in names)])  # facts are told twice a second
    captured = min(sent, at_most)
    if ended and captured < at_most < 1 << 62 and (gone := [o.name for o in sources if o.restarts]):
        lost[f"{', '.join(gone)} was replaced, and they came meanwhile"] = at_most - captured
    handed = [link.acknowledged for link in links if link.source in names and link.target not in views]
    downstream = sum(sum(k.lost.values()) for k in links if k.source not in names and k.target not in views)
    return {
        "expected": expected,
        "captured": captured,
        "delivered": max(min([captured, *handed]) - downstream - sum(aside.values())
                         - max(forgotten.values(), default=0), 0),
        "damaged": sum(int(o.facts.get("frames_damaged", 0)) for o in sources),
        "dropped": dropped, "lost": {reason: n for reason, n in lost.items() if n}, "in_flight": in_flight,
    }


def _add(total: dict[str, int], part: Any) -> None:
    if isinstance(part, dict):
        for key, n in part.items():
            total[str(key)] = total.get(str(key), 0) + int(n)


def _frame_troubles(frames: dict[str, Any], over: bool) -> list[str]:
    found = [f"{n} frames lost: {reason}" for reason, n in frames["lost"].items()]
    found += [f"{n} frames dropped by policy {policy}" for policy, n in frames["dropped"].items() if n]
    if frames["damaged"]:
        found.append(f"{frames['damaged']} frames damaged: some of their pixels have no value")
    missing = frames["expected"] - frames["captured"] - sum(frames["lost"].values())
    if over and missing > 0:
        found.append(f"{missing} of {frames['expected']} frames never came")
    return found


def _broken_law(links: tuple[LinkStatus, ...]) -> list[str]:
    """Links on which sent is not acknowledged + lost + in flight, or which ended with something in flight."""
    found = []
    for link in links:
        lost = sum(link.lost.values())
        if link.sent != link.acknowledged + lost + link.in_flight or link.in_flight:
            found.append(f"link {link.name}: {link.sent} frames sent, but {link.acknowledged} acknowledged, "
                         f"{lost} lost and {link.in_flight} in flight")
    return found
