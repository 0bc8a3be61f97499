"""What is lost with whom: agents and sources that are killed, and everything goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from apart import until
from offspring import awaited, child, words_of

from camlink.carry.disk.journal import read_blocks
from camlink.display.terminal.demo import demo_workflow
from camlink.runtime.place.local import LocalPlacer
from camlink.runtime.report import Report
from camlink.runtime.run import open_run
from camlink.runtime.status import RunStatus
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]
FRAMES = 200


def flow(*sites: Site, source: str = "", rest: str = "", gap_s: float = 0.01) -> Workflow:
    """camera -> count -> add and keep; the camera at `source`, the others at `rest`."""
    made = Workflow("recovery", sites={site.name: site for site in sites or (Site("here"),)})
    camera = made.add("camera", toys.camera, frames=FRAMES, gap_s=gap_s, at=source or "here")
    count = made.add("count", toys.count, camera, at=rest or "here")
    made.add("add", toys.add, count, at=rest or "here")
    made.add("keep", toys.keep, count, at=rest or "here")
    return made


def play(made: Workflow, folder: Path, act: Callable[[], None], within_s: float = 60.0) -> Report:
    """Run, let something happen once 40 frames are there, and wait for the end."""
    statuses: list[RunStatus] = []
    made = made.with_values({"camera.wait_at": FRAMES - 20})  # however late we hear of them
    with open_run(made, folder=folder, watch=statuses.append) as opened:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (statuses and statuses[-1].frames.get("captured", 0) >= 40):
            time.sleep(0.02)
        act()
        (folder / toys.GO).touch()
        return opened.wait(within_s)


def holds_everything(report: Report, folder: Path) -> None:
    """Complete, every frame was added and written once, and the accounts of the frames agree."""
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.frames["captured"] == report.frames["delivered"] == FRAMES
    assert (report.operators["add"]["distinct"], report.operators["add"]["total"]) == (FRAMES, sum(range(FRAMES)))
    assert sorted(map(int, (folder / "kept.txt").read_text().split())) == list(range(FRAMES))


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_workers_of_a_lost_agent_go_on_with_its_successor(tmp_path: Path, how: signal.Signals) -> None:
    made = flow(Site("here"), Site("there"), source="here", rest="there")
    report = play(made, tmp_path, lambda: child("agent", "there").send_signal(how))
    holds_everything(report, tmp_path)
    assert sorted(r["operator"] for r in report.restarts) == ["add", "count", "keep"]
    assert [r for r in report.restarts if r["took_s"] is None or "the agent of site 'there' " not in r["reason"]] == []
    assert "the agent 'there.next1' joined" in "\n".join(tell(tmp_path))


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_run_whose_only_agent_is_killed_goes_on_from_its_journals(tmp_path: Path, how: signal.Signals) -> None:
    report = play(flow(), tmp_path, lambda: child("agent").send_signal(how))
    holds_everything(report, tmp_path)
    assert not [path for path in (tmp_path / "spill").rglob("*") if path.is_file()]
    assert sorted(r["operator"] for r in report.restarts) == ["add", "camera", "count", "keep"]


def test_before_the_walltime_ends_the_workers_go_on_at_the_next_agent(tmp_path: Path) -> None:
    made = flow(Site("here"), Site("there", "local", {"walltime_s": 10.0, "margin_s": 5.0}),
                source="here", rest="there", gap_s=0.02)
    report = play(made, tmp_path, lambda: until(lambda: "it goes on at" in "\n".join(tell(tmp_path)), 30, "a move"))
    holds_everything(report, tmp_path)
    assert {r["operator"] for r in report.restarts} == {"add", "count", "keep"}
    assert [r for r in report.restarts if not r["reason"].startswith("the time of the agent 'there")] == []


def test_a_replica_leaves_before_the_walltime_ends_and_joins_again_when_the_successor_has_left_its_queue(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, lost, moves = LocalPlacer.start, LocalPlacer.lost, threading.Event()
    queue: dict[LocalPlacer, str] = {}

    def queued(placer: LocalPlacer, master: str) -> None:
        if "next" in placer._site and not moves.is_set():
            queue[placer] = master
        else:
            start(placer, master)

    def wait(placer: LocalPlacer) -> str:
        if placer in queue and moves.is_set():
            start(placer, queue.pop(placer))
        return "" if placer in queue else lost(placer)

    monkeypatch.setattr(LocalPlacer, "start", queued)
    monkeypatch.setattr(LocalPlacer, "lost", wait)
    made = flow(Site("here"), Site("short", "local", {"walltime_s": 6.0, "margin_s": 4.0}), gap_s=0.04)
    made.nodes["count"] = replace(made.nodes["count"], at="any", replicas=2)

    def wait_for(words: str) -> None:
        until(lambda: words in "\n".join(tell(tmp_path)), 30, words)

    def act() -> None:
        wait_for("count/1/0 is asked to leave")
        wait_for("site 'short': ")  # its time is over
        moves.set()
        wait_for("count/2/0 works")

    report = play(made, tmp_path, act)
    holds_everything(report, tmp_path)
    assert [one for one in report.restarts if one["replica"] < 2] == []  # to leave is no loss


@pytest.mark.full
def test_what_is_forgotten_with_a_journal_is_counted(tmp_path: Path) -> None:
    def act() -> None:
        child("worker", "add/0/").kill()
        (tmp_path / "journal/add-0-frames.blocks").unlink()

    report = play(flow(), tmp_path, act)
    assert report.verdict == "degraded"
    (reason,) = report.reasons
    lost = sum(report.frames["lost"].values())
    assert reason == f"{lost} frames lost: forgotten by add, whose journal is gone"
    assert report.frames["delivered"] + lost == FRAMES
    assert 30 <= lost <= FRAMES - report.operators["add"]["distinct"] <= lost + 40  # what the last heartbeat told


def test_of_a_damaged_journal_one_block_is_forgotten_and_the_worker_goes_on_with_the_rest(tmp_path: Path) -> None:
    def act() -> None:
        with (tmp_path / "journal/add-0-frames.blocks").open("r+b") as journal:
            journal.seek(2000)
            journal.write(b"damage")
        child("worker", "add/0/").kill()

    report = play(flow(), tmp_path, act)
    assert report.verdict == "degraded"
    lost, where = report.reasons
    assert lost == "1 frames lost: set aside by add: its journal is damaged"
    assert where.startswith(f"add: {tmp_path}/journal/add-0-frames.blocks: the bytes ")
    assert report.operators["add"]["distinct"] == report.frames["delivered"] == FRAMES - 1
    assert len(report.restarts) == 1


@pytest.mark.full
def test_a_site_whose_agents_die_again_and_again_is_given_up(tmp_path: Path) -> None:
    made = flow(Site("here"), Site("there"), source="here", rest="there")

    def kill_all() -> None:
        for number in range(4):
            awaited("agent", "there" if not number else f"there.next{number}").kill()

    report = play(made, tmp_path, kill_all)
    assert report.verdict == "failed"
    assert any("agent of site 'there" in reason for reason in report.reasons), report.reasons
    assert all(link["in_flight"] == 0 for link in report.links)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.full)])
def test_a_source_that_resumes_gives_every_frame_once_though_the_nurseries_are_gone_too(
        tmp_path: Path, how: signal.Signals) -> None:
    def act() -> None:
        agent = child("agent")
        for parent in (agent, psutil.Process()):
            os.kill(next(one.pid for one in parent.children() if "nursery" in words_of(one)), how)
        os.kill(child("worker", "camera/0/", below=agent.pid).pid, how)
        assert awaited("worker", "camera/0/1", below=agent.pid).ppid() == agent.pid

    report = play(flow(), tmp_path, act)
    holds_everything(report, tmp_path)
    assert [r["operator"] for r in report.restarts] == ["camera"]


@pytest.mark.parametrize(("whom", "fault", "said"), [
    ("add", {"loop_at": 50}, "set aside by add: its code worked for 1 s without a word"),
    pytest.param("count", {"hoard_at": 50}, "set aside by count: MemoryError: Unable", marks=pytest.mark.full),
    pytest.param("count", {"loop_at": 50}, "worked for 1 s without", marks=pytest.mark.full),
    pytest.param("add", {"hoard_at": 50}, "set aside by add: MemoryError", marks=pytest.mark.full)])
def test_a_block_on_which_the_code_loops_for_ever_or_takes_all_memory_is_set_aside(
        tmp_path: Path, whom: str, fault: dict[str, int], said: str) -> None:
    made = flow()
    made.nodes[whom] = replace(made.nodes[whom], parameters=fault, patience_s=1.0)
    report = play(made, tmp_path, lambda: None)
    assert report.verdict == "degraded"
    assert [said in reason for reason in report.reasons] == [True], report.reasons
    assert sum(report.frames["lost"].values()) == 1
    assert report.operators["add"]["total"] == sum(range(FRAMES)) - 50
    assert {r["operator"] for r in report.restarts} == {whom}
    assert 2 <= len(report.restarts) <= 3  # the third when it began before the second was known to be dead


@pytest.mark.full
@pytest.mark.parametrize("seed", range(6))
def test_whoever_is_killed_and_whenever_no_frame_is_lost(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    made = flow(Site("here"), Site("there"), source="here", rest=dice.choice(["here", "there"]))

    def act() -> None:
        for _ in range(dice.randint(1, 3)):
            time.sleep(dice.uniform(0.05, 1.5))
            if there := psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it ended meanwhile
                    dice.choice(there).kill()

    holds_everything(play(made, tmp_path, act), tmp_path)


def test_a_solver_that_is_killed_goes_on_where_it_stood(tmp_path: Path) -> None:
    """When it has kept 20 iterations: its next attempt has their picture at once, and not that of the start."""
    seen: list[dict[str, Any]] = []

    def watch(status: RunStatus) -> None:
        (facts,) = (one.facts for one in status.operators if one.name == "solve")
        if "iteration" in facts and (not seen or facts != seen[-1]):
            seen.append(facts)

    made = demo_workflow("ptychography").with_values({
        "beamline.points_y": 8, "beamline.points_x": 8, "beamline.rate_hz": 60, "solve.algorithm": "raar",
        "solve.iterations": 120, "solve.patience_s": 60.0, "solve.publish_s": 0.05})

    def kept() -> int:
        file = tmp_path / "journal/solve-0.kept"
        return int(next(read_blocks(file)).header.facts["iteration"]) if file.exists() else 0

    with open_run(made, folder=tmp_path, watch=watch) as opened:
        until(lambda: seen and kept() >= max(20, seen[0]["iteration"]), 60, "20 iterations are kept")
        child("worker", "solve/0/").kill()
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert [r["operator"] for r in report.restarts] == ["solve"]
    after = [facts for facts in seen if "went_on_from" in facts]
    assert after[0]["iteration"] > after[0]["went_on_from"] >= 20
    before = [facts for facts in seen if facts["iteration"] <= after[0]["went_on_from"]]
    assert after[0]["fourier_error"] < 1.1 * before[-1]["fourier_error"]
    assert after[-1]["iteration"] <= after[0]["went_on_from"] + 120, "it began anew"
    assert not list((tmp_path / "journal").iterdir())
