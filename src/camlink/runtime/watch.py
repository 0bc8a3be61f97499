"""Watch: what a person may see of a run, made from its state: steps, operators, links with rates, frames, verdict."""

from __future__ import annotations

from collections import deque
from itertools import chain
from statistics import fmean
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from camlink.carry.account import Histogram, Snapshot, merge
from camlink.carry.far.path import Path
from camlink.runtime.crew import WorkerState
from camlink.runtime.messages import GIVEN_BEFORE, LinkSpec
from camlink.runtime.states import Phase, RunState
from camlink.runtime.status import (
    STEPS,
    LinkStatus,
    OperatorState,
    OperatorStatus,
    RunStatus,
    StepStatus,
)
from camlink.runtime.verdict import FRAME_BLOCKS, judge
from camlink.runtime.versions import differences, versions

_PHASES: Final[tuple[Phase, ...]] = ("resources", "services", "network", "graph")
_RATE_S: Final = 2.0
_ORDER: Final[tuple[OperatorState, ...]] = ("running", "ready", "starting", "waiting", "ended")


class Watch:
    """Makes one RunStatus after the other; remembers a little of the past for the rates."""

    def __init__(self, workflow: str, uses: dict[str, str]) -> None:
        self._workflow, self._uses = workflow, uses
        self._version = 0
        self._past: dict[str, deque[tuple[float, int, int]]] = {}

    def status(self, state: RunState, at: float) -> RunStatus:
        """Everything at time `at` [s]."""
        self._version += 1
        links = tuple(self._link(state, spec, at) for spec in state.links.values())
        operators = tuple(self._operator(state, name) for name in self._uses)
        judged = judge(state, operators, links)
        return RunStatus(
            version=self._version, workflow=self._workflow, scan=_scan(operators), elapsed_s=at - state.begun_s,
            steps=steps(state), operators=operators, links=links, frames=judged.frames,
            verdict=judged.verdict if state.phase == "over" else None, reasons=judged.reasons,
            paused=state.paused, orders=tuple(
                {"at_s": round(then - state.begun_s, 3), **msgspec.to_builtins(order)} for then, order in state.orders),
        )

    def _operator(self, state: RunState, name: str) -> OperatorStatus:
        replicas = [w for w in state.workers.values() if w.spec.operator == name]
        lead = min((w for w in replicas if w.state != "failed"), key=lambda w: _ORDER.index(w.state),
                   default=replicas[0])
        facts = dict(lead.facts) if len(replicas) == 1 else _summed([w.facts for w in replicas])
        return OperatorStatus(
            name=name, use=self._uses[name], kind=lead.spec.kind, state=lead.state, text=lead.text,
            given_up=lead.given_up,
            site=", ".join(sorted({w.site for w in replicas if w.state != "failed"} or {lead.site})),
            facts=facts, replicas=sum(not w.over for w in replicas), restarts=sum(len(w.restarts) for w in replicas),
            forgotten=sum(w.forgotten for w in replicas),
            repeated=sum(w.past_repeated + w.repeated for w in replicas), aside=_summed([w.aside for w in replicas]))

    def _link(self, state: RunState, spec: LinkSpec, at: float) -> LinkStatus:
        sent, received = accounts(state, spec)
        past = self._past.setdefault(spec.name, deque(maxlen=64))
        past.append((at, sent.sent, sent.bytes))
        while len(past) > 2 and at - past[1][0] > _RATE_S:
            past.popleft()
        strangers = merge([sent, received]).turned_away if received.turned_away else sent.turned_away
        flows = any(not w.over for w in state.workers.values() if w.spec.operator == spec.source)
        per_s = 1 / max(at - past[0][0], 1e-9) if len(past) > 1 and flows else 0.0
        ages, hops = ({name: round(of(q), 3) for name, q in (("p50", 0.5), ("p99", 0.99))}
                      for of in (received.age_ms, received.hop_ms))
        return LinkStatus(
            name=spec.name, source=spec.source, target=spec.target, kind=spec.kind, policy=spec.policy,
            block=spec.block,
            sent=sent.sent, received=received.received, acknowledged=sent.acknowledged, dropped=sent.dropped,
            lost=sent.lost, turned_away=strangers, in_flight=sent.in_flight, bytes=sent.bytes,
            frames_per_s=(sent.sent - past[0][1]) * per_s, bytes_per_s=(sent.bytes - past[0][2]) * per_s,
            age_ms={**ages, "max": round(received.max_age_s * 1e3, 3)},
            hop_ms={**hops, "max": round(received.max_hop_s * 1e3, 3)},
            age_histogram=Histogram.of(received.ages, received.age_sum_s),
            hop_histogram=Histogram.of(received.hops, received.hop_sum_s), resent=sent.resent, spilled=sent.spilled,
            notes=(*sent.notes, *received.notes), paths=_paths(state, spec), queue_bytes=sent.queue_bytes,
            peak_queue_bytes=sent.peak_queue_bytes, limit_bytes=spec.limit_bytes,
        )


def _paths(state: RunState, spec: LinkSpec) -> tuple[Path, ...]:
    """The ways that the receivers of a link take now."""
    return tuple(path for w in state.workers.values() if w.spec.operator == spec.target and spec.name in w.received
                 for path in w.received[spec.name].paths)


def accounts(state: RunState, spec: LinkSpec) -> tuple[Snapshot, Snapshot]:
    """The accounts of a link at its sending and its receiving end, all replicas added.

    A sender that died could not take in the last acknowledgements: then the receivers' own count stands. What it had
    sent beyond that its next attempt sends again; without one it is lost.
    """
    senders, receivers = state.at(spec.source), state.at(spec.target)
    sent = merge([part[spec.name] for w in senders for part in (_past(w), w.sent) if spec.name in part])
    received = merge([part[spec.name] for w in receivers for part in (w.past_received, w.received)
                      if spec.name in part])
    beyond = received.acknowledged - sent.acknowledged
    if any(w.restarts or w.leaving for w in senders):
        sent = _with_more(sent, beyond)
    receivers_over = all(w.over for w in receivers)
    if sent.in_flight and receivers_over and any(w.state == "failed" for w in senders):
        sent = _settled(sent, received, f"{spec.source} failed")
    elif sent.in_flight and receivers_over and all(w.over for w in senders):
        sent = _settled(sent, received, f"{spec.target} ended early")
    return sent, received


def _past(worker: WorkerState) -> dict[str, Snapshot]:
    """What the earlier attempts of a worker sent; a source that resumed knows that better than its last heartbeat."""
    given = worker.facts.get(GIVEN_BEFORE, 0)
    return {name: _with_more(past, given - past.acknowledged) for name, past in worker.past_sent.items()}


def _with_more(account: Snapshot, frames: int) -> Snapshot:
    """The account when so many frames more went and were acknowledged."""
    if frames <= 0:
        return account
    return replace(account, offered=account.offered + frames, sent=account.sent + frames,
                   acknowledged=account.acknowledged + frames)


def _settled(sent: Snapshot, received: Snapshot, reason: str) -> Snapshot:
    acknowledged = max(sent.acknowledged, min(received.acknowledged, sent.sent))
    rest = sent.sent - acknowledged - sum(sent.lost.values())
    lost = {**sent.lost, reason: sent.lost.get(reason, 0) + rest} if rest > 0 else sent.lost
    return replace(sent, acknowledged=acknowledged, lost=lost, queue_bytes=0)


def steps(state: RunState) -> tuple[StepStatus, ...]:
    """The four steps with what is done and what is waited for."""
    workers = list(state.workers.values())
    ready = sum(w.state not in ("waiting", "starting") for w in workers)
    links = sum(len(w.spec.outputs) for w in workers)
    linked = sum(len(w.linked) for w in workers)
    ended = sum(w.over for w in workers)
    counts = ((len(state.joined), len(state.agents)), (ready, len(workers)), (linked, links), (ended, len(workers)))
    words = ("agents joined", "operators ready", "links connected", "operators ended")
    placing = "".join(f"; {agent}: {said}" for agent, said in state.placing.items())
    mores = (_differing(state) + placing, "", _ways(state), "")
    reached = _PHASES.index(state.phase) if state.phase in _PHASES else len(_PHASES)
    out = []
    for number, (title, (done, total), word, more) in enumerate(zip(STEPS, counts, words, mores, strict=True)):
        passed = number < reached and not (state.troubles and not state.graph_s)
        complete = passed or (total > 0 and done >= total and number < reached)
        phase = "done" if complete else "failed" if number < reached else "active" if number == reached else "waiting"
        out.append(StepStatus(title=title, state=phase, done=total if passed else done,  # type: ignore[arg-type]
                              total=total, text=f"{total if passed else done} of {total} {word}{more}"))
    return tuple(out)


def _differing(state: RunState) -> str:
    """Which agents run with something else than we do."""
    found = {name: differences(there.has.versions, versions()) for name, there in state.joined.items()}
    said = [f"{name}: {', '.join(lines)}" for name, lines in found.items() if lines]
    return "; " + "; ".join(said) if said else ""


def _ways(state: RunState) -> str:
    """Which ways links to other machines take."""
    said = [f"{spec.name} {', '.join(dict.fromkeys(map(str, _paths(state, spec))))}" for spec in state.links.values()
            if _paths(state, spec)]
    return "; " + "; ".join(said) if said else ""


def _scan(operators: tuple[OperatorStatus, ...]) -> str:
    return next((str(o.facts["scan"]) for o in operators if o.facts.get("scan")), "")


def _summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Facts of replicas: counts (int) are added, measures (float) averaged, lists joined, the rest is what one told."""
    total: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        values = [part[key] for part in parts if key in part]
        kinds = {type(value) for value in values}
        if kinds == {list}:
            every = list(chain.from_iterable(values))
            total[key] = [one for number, one in enumerate(every) if one not in every[:number]]
        else:
            total[key] = sum(values) if kinds == {int} else fmean(values) if kinds <= {int, float} else values[-1]
    return total


def times(state: RunState) -> dict[str, float | None]:
    """When things happened, in seconds after the beginning."""
    by_name: dict[str, list[WorkerState]] = {}
    for worker in state.workers.values():
        by_name.setdefault(worker.spec.operator, []).append(worker)
    captured, pictures = [], []
    for spec in state.links.values():
        sent, received = accounts(state, spec)
        kind = by_name[spec.source][0].spec.kind
        if kind == "source" and spec.block in FRAME_BLOCKS:
            captured.append(sent)
        elif kind == "solver" and spec.block == "Result":
            pictures.append(received)

    def since(value: float) -> float | None:
        return round(value - state.begun_s, 3) if value else None

    first_frame, last_frame = _ends(captured)
    first_picture, final_picture = _ends(pictures)
    lag = round(max(final_picture - last_frame, 0.0), 3) if final_picture and last_frame else None
    return {
        "ready_s": since(state.graph_s), "first_frame_s": since(first_frame), "first_picture_s": since(first_picture),
        "last_frame_s": since(last_frame), "final_picture_s": since(final_picture), "lag_after_last_frame_s": lag,
    }


def _ends(parts: list[Snapshot]) -> tuple[float, float]:
    starts = [p.first_s for p in parts if p.first_s]
    return min(starts, default=0.0), max((p.last_s for p in parts), default=0.0)
