from __future__ import annotations

from typing import Any

import msgspec
import pytest

from camlink.runtime.states import RunState
from camlink.runtime.status import LinkStatus, OperatorStatus
from camlink.runtime.verdict import judge

CAMERA: dict[str, Any] = {"frames_expected": 10, "frames_captured": 10}


def operators(**facts: Any) -> tuple[OperatorStatus, ...]:
    told = {**CAMERA, **facts}
    return (OperatorStatus(name="camera", use="c", kind="source", site="here", state="ended", facts=told),
            OperatorStatus(name="look", use="v", kind="view", site="master", state="ended"))


def link(**more: Any) -> LinkStatus:
    return LinkStatus(**{"name": "camera->solve", "source": "camera", "target": "solve", "block": "RawFrames",
                         "sent": 10, "received": 10, "acknowledged": 10, **more})


def over(**more: Any) -> RunState:
    return RunState({}, {}, phase="over", **more)


def test_everything_delivered_is_complete() -> None:
    judged = judge(over(), operators(), (link(),))
    assert (judged.verdict, judged.reasons) == ("complete", ())
    assert judged.frames["delivered"] == 10


@pytest.mark.parametrize(("facts", "links", "says"), [
    ({"frames_damaged": 3}, {}, "3 frames damaged"),
    ({"frames_captured": 8, "frames_lost": {"packets lost": 2}}, {"sent": 8, "acknowledged": 8},
     "2 frames lost: packets lost"),
    ({"frames_captured": 8}, {"sent": 8, "acknowledged": 8}, "2 of 10 frames never came"),
    ({}, {"acknowledged": 9, "lost": {"solve died": 1}}, "1 frames lost: camera->solve: solve died"),
    ({}, {"sent": 8, "acknowledged": 8, "dropped": {"latest": 2}}, "2 frames dropped by policy latest"),
    ({"warnings": ["no dark frames"]}, {}, "camera: no dark frames"),
])
def test_whatever_is_missing_degrades_with_its_number(facts: dict[str, Any], links: dict[str, Any], says: str) -> None:
    judged = judge(over(), operators(**facts), (link(**links),))
    assert judged.verdict == "degraded"
    assert any(says in reason for reason in judged.reasons)


def test_a_frame_that_a_source_gave_twice_counts_once() -> None:
    frames = judge(over(), operators(frames_captured=9, frames_lost={"gone": 1}),
                   (link(sent=12, received=12, acknowledged=12),)).frames
    assert (frames["captured"], frames["delivered"]) == (9, 9)


def test_a_view_that_drops_degrades_nothing() -> None:
    judged = judge(over(), operators(), (link(), link(name="camera->look", target="look", sent=2, acknowledged=2,
                                                      dropped={"latest": 8}, policy="latest")))
    assert judged.verdict == "complete"


@pytest.mark.parametrize("broken", [{"in_flight": 1, "acknowledged": 9}, {"acknowledged": 9}, {"sent": 11}])
def test_a_broken_law_fails_the_run(broken: dict[str, Any]) -> None:
    judged = judge(over(), operators(), (link(**broken),))
    assert judged.verdict == "failed"
    assert "camera->solve" in judged.reasons[0]


def test_no_frame_at_all_is_a_failure() -> None:
    judged = judge(over(), operators(frames_captured=0), (link(sent=0, received=0, acknowledged=0),))
    assert judged.verdict == "failed"


def test_a_stop_is_a_reason() -> None:
    assert judge(over(stopped="Ctrl-C"), operators(), (link(),)).reasons == ("stopped: Ctrl-C",)


def test_who_went_down_with_others_is_no_cause_of_its_own() -> None:
    camera, look = operators()
    went = msgspec.structs.replace(camera, state="failed")
    assert judge(over(troubles=["no agent"]), (went, look), (link(),)).reasons == ("no agent",)
    assert judge(over(), (msgspec.structs.replace(went, text="out of film"), look), (link(),)).verdict == "failed"


def test_who_fell_with_others_adds_no_reason() -> None:
    def fallen(name: str, text: str, kind: str = "solver", *, given_up: bool = False) -> OperatorStatus:
        return OperatorStatus(name=name, use="u", kind=kind, site="here", state="failed", text=text, given_up=given_up)

    fell = (fallen("camera", "no light"), fallen("solve", "given up", given_up=True), fallen("look", "", "view"))
    assert judge(over(), fell, ()).reasons == ("camera: no light",)
    assert judge(over(), fell[1:], ()).reasons == ("solve: given up",)
    lost = over(troubles=["the agent of 'far' is gone"])
    assert judge(lost, (fallen("solve", "the agent of 'far' is gone"), *fell[1:]), ()).reasons == (lost.troubles[0],)
