"""Order behind replicas in whole runs: whoever is killed, the sink sees every frame once, as the camera gave them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from offspring import child

from camlink.block import CountFrames
from camlink.runtime.run import open_run, run
from camlink.runtime.status import RunStatus
from camlink.testing import toys
from camlink.workflow.graph import Site, Wire, Workflow
from camlink.workflow.operator import operator

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def flow(placer: str = "local", *, frames: int = 300, gap_s: float = 0.0, policy: str = "block", uneven_s: float = 0.02,
         ordered: bool = True, **count: int) -> Workflow:
    made = Workflow("ordered", sites={"here": Site("here", placer)})
    made.add("camera", toys.camera, frames=frames, gap_s=gap_s)
    made.add("count", toys.count, Wire("camera", policy=policy), replicas=3, uneven_s=uneven_s, **count)
    made.add("keep", toys.keep, "count", ordered=ordered)
    return made


def kept(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "kept.txt").read_text().split()]


def begun(statuses: list[RunStatus]) -> None:
    """Wait until the first frames are there."""
    deadline = time.monotonic() + 30
    while not (statuses and statuses[-1].frames.get("captured")):
        assert time.monotonic() < deadline, "no frame came"
        time.sleep(0.05)


@pytest.mark.parametrize("whom", [
    pytest.param(["count/1"], id="replica", marks=pytest.mark.full),
    pytest.param(["keep/0"], id="sink", marks=pytest.mark.full),
    pytest.param(["camera/0"], id="source", marks=pytest.mark.full),
    pytest.param(["count/0", "keep/0", "count/2"], id="several")])
def test_whoever_is_killed_the_sink_sees_every_frame_once_and_in_order(tmp_path: Path, whom: list[str]) -> None:
    statuses: list[RunStatus] = []
    made = flow(frames=400, gap_s=0.005).with_values({"camera.wait_at": 350})
    with open_run(made, folder=tmp_path, watch=statuses.append) as opened:
        begun(statuses)
        for one in whom:
            time.sleep(0.3)
            child("worker", f"{one}/").kill()
        (tmp_path / toys.GO).touch()
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert len(report.restarts) == len(whom)
    assert kept(tmp_path) == list(range(400))


@pytest.mark.full
def test_replicas_join_and_leave_and_a_poison_frame_is_not_waited_for(tmp_path: Path) -> None:
    statuses: list[RunStatus] = []
    with open_run(flow(frames=400, gap_s=0.005, raise_at=30), folder=tmp_path, watch=statuses.append) as opened:
        begun(statuses)
        for replicas in (1, 4, 2):
            time.sleep(0.6)
            opened.scale("count", replicas)
        report = opened.wait(60)
    assert report.reasons == ("1 frames lost: set aside by count: ValueError: frame 30 is poison",)
    assert kept(tmp_path) == [index for index in range(400) if index != 30]


def test_frames_that_a_policy_dropped_before_the_replicas_are_not_waited_for(tmp_path: Path) -> None:
    report = run(flow("inline", policy="sample(3)", uneven_s=0.005), folder=tmp_path)
    assert kept(tmp_path) == list(range(0, 300, 3))
    assert report.frames["dropped"] == {"sample(3)": 200}


@operator("sift")
def sift(frames: CountFrames) -> list[CountFrames]:
    """Leave every seventh frame out, after another time for each."""
    time.sleep(0.002 * (int(frames.index[0]) % 5))
    return [frames.rows([row]) for row, index in enumerate(frames.index) if index % 7]


def test_turns_pass_several_layers_of_replicas(tmp_path: Path) -> None:
    made = flow("inline", uneven_s=0.005)
    made.nodes.pop("keep")
    made.add("sift", sift, "count", replicas=2)
    made.add("keep", toys.keep, "sift", ordered=True)
    assert run(made, folder=tmp_path).verdict == "complete"
    assert kept(tmp_path) == [index for index in range(300) if index % 7]


def test_without_being_asked_for_order_is_not_restored(tmp_path: Path) -> None:
    run(flow("inline", frames=100, uneven_s=0.005, ordered=False), folder=tmp_path)
    assert kept(tmp_path) != sorted(kept(tmp_path)) == list(range(100))
