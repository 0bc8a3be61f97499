"""Whole runs with real agents, processes and sockets, well and badly ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from offspring import words_of

from camlink.carry.disk.journal import read_blocks
from camlink.errors import InputError, PeerLost
from camlink.runtime.place.local import LocalPlacer
from camlink.runtime.report import Report
from camlink.runtime.run import OpenRun, open_run, run
from camlink.runtime.status import RunStatus
from camlink.runtime.story import replay, tell
from camlink.runtime.watch import Watch
from camlink.settings import read_settings
from camlink.testing import toys
from camlink.testing.context import RecordingScreen
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def flow(placer: str = "local", *, frames: int = 60, gap_s: float = 0.0, replicas: int = 1, sink: Any = None,
         side: int = 16, add_raise_at: int = -1, **count: Any) -> Workflow:
    made = Workflow("toys", sites={"here": Site("here", placer)})
    camera = made.add("camera", toys.camera, frames=frames, gap_s=gap_s, side=side)
    counted = made.add("count", toys.count, camera, replicas=replicas, **count)
    added = made.add("add", toys.add, counted, raise_at=add_raise_at)
    if sink is not None:
        made.add("sink", sink, counted)
    made.add("look", toys.look, camera, added, policy="latest")
    return made


def links(report: Report) -> dict[str, dict[str, Any]]:
    return {link["name"]: link for link in report.links}


def sockets() -> set[Path]:
    return set(read_settings().sockets.glob("camlink-*"))


@pytest.mark.parametrize(("placer", "kinds"), [("local", {"shm"}), ("inline", {"memory"})])
def test_every_frame_arrives_whatever_carries_it(tmp_path: Path, placer: str, kinds: set[str]) -> None:
    screen = RecordingScreen()
    statuses: list[RunStatus] = []
    report = run(flow(placer), folder=tmp_path, screen=screen, watch=statuses.append)
    assert (report.verdict, report.reasons, report.scan) == ("complete", (), "toy")
    assert report.frames == {"expected": 60, "captured": 60, "delivered": 60, "damaged": 0, "dropped": {}, "lost": {},
                             "in_flight": 0}
    assert report.operators["add"]["total"] == sum(range(60))
    assert {link["kind"] for link in report.links} == kinds
    for name in ("camera->count", "count->add"):
        link = links(report)[name]
        assert link["sent"] == link["received"] == link["acknowledged"] == 60
    looked = links(report)["camera->look"]
    assert looked["sent"] == looked["acknowledged"]
    assert looked["sent"] + looked["dropped"].get("latest", 0) == 60
    final = [b for b in screen.blocks if b.header.source == "add"][-1]
    assert final.header.facts == {"total": float(sum(range(60))), "final": True}
    assert [s.state for s in statuses[-1].steps] == ["done"] * 4
    assert {link.frames_per_s for link in statuses[-1].links} == {0.0}  # nothing flows after the end
    assert report.times["lag_after_last_frame_s"] is not None


def test_replicas_share_the_work_and_lose_nothing(tmp_path: Path) -> None:
    report = run(flow(replicas=2, sleep_s=0.002), folder=tmp_path)
    assert report.verdict == "complete"
    assert (report.operators["add"]["distinct"], report.operators["add"]["total"]) == (60, sum(range(60)))


def test_what_a_slow_receiver_has_no_room_for_waits_on_disk(tmp_path: Path) -> None:
    made = Workflow("toys", sites={"here": Site("here")})
    camera = made.add("camera", toys.camera, frames=80, side=1024)  # 2 MiB a frame, 160 MiB in all
    counted = made.add("count", toys.count, camera, policy="spill", sleep_s=0.02)
    made.add("add", toys.add, counted)
    report = run(made, folder=tmp_path)
    link = links(report)["camera->count"]
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(80))
    assert link["sent"] == link["acknowledged"] == 80
    assert link["peak_queue_bytes"] <= link["limit_bytes"]
    assert (tmp_path / "spill").exists()
    assert list((tmp_path / "spill").iterdir()) == []


def test_replicas_join_and_leave_during_the_scan_and_nothing_is_lost(tmp_path: Path) -> None:
    statuses: list[RunStatus] = []

    def replicas() -> int:
        return next(o.replicas for o in statuses[-1].operators if o.name == "count")

    made = flow(frames=400, gap_s=0.005, sleep_s=0.005).with_values({"camera.wait_at": 380})
    with open_run(made, folder=tmp_path, watch=statuses.append) as opened:
        until_running(opened, statuses)
        for wanted in (3, 1, 2):
            opened.scale("count", wanted)
            deadline = time.monotonic() + 30
            while replicas() != wanted:
                assert time.monotonic() < deadline, f"not {wanted} replicas"
                time.sleep(0.02)
            time.sleep(0.2)
        (tmp_path / toys.GO).touch()
        with pytest.raises(InputError, match="those that may have: count"):
            opened.scale("add", 2)
        report = opened.wait(60)
    assert (report.verdict, report.reasons, report.restarts) == ("complete", (), ())
    assert (report.operators["add"]["distinct"], report.operators["add"]["total"]) == (400, sum(range(400)))


def test_a_full_link_holds_the_source_back(tmp_path: Path) -> None:
    report = run(flow(frames=80, side=1024, sleep_s=0.005), folder=tmp_path)  # 2 MiB a frame, 160 MiB in all
    link = links(report)["camera->count"]
    assert report.verdict == "complete"
    assert link["peak_queue_bytes"] <= link["limit_bytes"]


@pytest.mark.parametrize("placer", ["local", "inline"])
def test_a_frame_on_which_the_operator_raises_is_set_aside_and_the_rest_arrives(tmp_path: Path, placer: str) -> None:
    report = run(flow(placer, raise_at=20), folder=tmp_path)
    assert report.verdict == "degraded"
    assert report.reasons == ("1 frames lost: set aside by count: ValueError: frame 20 is poison",)
    assert report.operators["add"]["distinct"] == report.frames["delivered"] == 59
    assert links(report)["camera->count"]["acknowledged"] == 60
    assert report.operators["count"]["set_aside"] == {"ValueError: frame 20 is poison": 1}
    assert "restarts" not in report.operators["count"]
    assert "poison" in (tmp_path / "log" / "count.log").read_text()
    assert dead_letters(tmp_path) == [20]


def dead_letters(folder: Path) -> list[int]:
    files = sorted((folder / "dead-letters").iterdir())
    return [int(block.arrays["index"][0]) for file in files for block in read_blocks(file)]


@pytest.mark.parametrize("placer", ["local", "inline"])
def test_an_operator_that_raises_on_everything_fails_the_run(tmp_path: Path, placer: str) -> None:
    report = run(flow(placer, raise_from=20), folder=tmp_path)
    assert report.verdict == "failed"
    assert report.reasons[0] == "count: ValueError: frame 29 is poison (and so on 10 blocks in a row)"
    assert report.operators["add"]["distinct"] == 20
    link = links(report)["camera->count"]
    assert link["sent"] == link["acknowledged"] + sum(link["lost"].values())


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_frame_that_kills_whoever_takes_it_is_set_aside(tmp_path: Path, replicas: int) -> None:
    report = run(flow(die_at=20, replicas=replicas), folder=tmp_path)
    assert report.verdict == "degraded"
    assert report.reasons == ("1 frames lost: set aside by count: killed by SIGKILL",)
    assert report.operators["add"]["distinct"] == 59
    # one more may have taken it before the word came that it is set aside
    assert report.operators["count"]["restarts"] == len(report.restarts) in range(3, 3 + replicas)
    assert dead_letters(tmp_path) == [20]


def test_an_operator_that_never_works_is_given_up_after_some_restarts(tmp_path: Path) -> None:
    report = run(flow(sink=toys.die), folder=tmp_path)
    assert report.verdict == "failed"
    assert "given up after 5 restarts in 60 s" in report.reasons[0]
    assert report.operators["add"]["distinct"] == 60


def test_a_consumer_that_leaves_early_is_told_in_the_report(tmp_path: Path) -> None:
    report = run(flow(sink=toys.leave, gap_s=0.01), folder=tmp_path)
    assert report.verdict == "degraded"
    assert links(report)["count->sink"]["lost"]
    assert report.operators["add"]["distinct"] == 60


def until_running(opened: OpenRun, statuses: list[RunStatus]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (statuses and statuses[-1].frames.get("captured")):
        time.sleep(0.05)
    assert statuses[-1].frames["captured"]


@pytest.mark.parametrize("placer", ["local", "inline"])
def test_a_stop_is_graceful_and_what_arrived_is_kept(tmp_path: Path, placer: str) -> None:
    statuses: list[RunStatus] = []
    with open_run(flow(placer, frames=10000, gap_s=0.01), folder=tmp_path, watch=statuses.append) as opened:
        until_running(opened, statuses)
        opened.cancel("Ctrl-C")
        report = opened.wait(30)
    assert report.verdict == "degraded"
    assert report.reasons[0] == "stopped: Ctrl-C"
    assert report.operators["add"]["distinct"] == report.frames["captured"] > 0


def test_an_operator_that_does_not_end_is_killed_in_bounded_time(tmp_path: Path) -> None:
    statuses: list[RunStatus] = []
    with open_run(flow(frames=10000, gap_s=0.01, sink=toys.deaf), folder=tmp_path, watch=statuses.append) as opened:
        until_running(opened, statuses)
        opened.cancel("Ctrl-C")
        time.sleep(0.5)
        opened.cancel("Ctrl-C", force=True)
        report = opened.wait(30)
    assert report.verdict == "failed"
    assert any("sink: did not end" in reason for reason in report.reasons)


def test_nothing_outlives_a_master_that_is_killed(tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import test_run as t; "
            "t.run(t.flow(frames=100000, gap_s=0.01), folder=Path(sys.argv[1]))")
    master = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)])
    deadline = time.monotonic() + 30
    named: list[str] = []
    while time.monotonic() < deadline and len(named) < 4:
        time.sleep(0.05)
        below = psutil.Process(master.pid).children(recursive=True)
        named = [word for process in below for word in words_of(process)[3:4] if word in ("agent", "worker")]
    assert sorted(named) == ["agent", "worker", "worker", "worker"]
    os.kill(master.pid, signal.SIGKILL)
    master.wait()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []
    for left in sockets():  # a killed master cannot clean; the next run does
        assert all(f.is_socket() or f.suffix == ".hand" for f in left.iterdir())
        for file in left.iterdir():
            file.unlink()
        left.rmdir()


def test_the_log_of_a_run_replays_to_its_end(tmp_path: Path) -> None:
    made = flow(raise_at=20, die_at=30)
    report = run(made, folder=tmp_path)
    *_, last = replay(tmp_path)
    status = Watch(made.name, {node.name: node.use for node in made.nodes.values()}).status(last.state, 0.0)
    assert (status.verdict, status.reasons, status.frames) == (report.verdict, report.reasons, report.frames)
    story = "\n".join(tell(tmp_path))
    assert "has ended" not in story  # agents that end with their run are no news
    for said in ("step 3 is done: connect network", "count/0 is replaced, since it is gone: killed by SIGKILL",
                 "while it held camera toy frame 30+1", "Verdict: degraded",
                 "Dead letter in count-0-frames.blocks: 1 frames"):
        assert said in story


def test_ten_runs_in_a_row_in_one_process(tmp_path: Path) -> None:
    for number in range(10):
        assert run(flow("inline", frames=20), folder=tmp_path / str(number)).verdict == "complete"


def test_what_cannot_be_closed_keeps_nothing_else_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close, before, others = LocalPlacer.close, sockets(), psutil.Process().children()

    def close_without_a_nursery(placer: LocalPlacer) -> bool:
        """The nursery ends, and no other one can be started."""
        monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
        (nursery,) = set(psutil.Process().children()) - set(others)
        nursery.kill()
        psutil.wait_procs([nursery], timeout=5)
        return close(placer)

    monkeypatch.setattr(LocalPlacer, "close", close_without_a_nursery)
    with pytest.raises(PeerLost, match="cannot start a process"):
        run(flow(), folder=tmp_path)
    assert sockets() == before
