"""Joins in whole runs: a slow branch, one that loses frames, workers that are killed; nothing is ever mixed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from offspring import child, kill_all

from camlink.block import CountFrames
from camlink.carry.disk.journal import read_blocks
from camlink.runtime.finish import finish
from camlink.runtime.run import open_run, run
from camlink.runtime.status import RunStatus
from camlink.settings import read_settings
from camlink.testing import toys
from camlink.workflow.graph import Site, Wire, Workflow
from camlink.workflow.join import Join
from camlink.workflow.operator import operator

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def flow(placer: str = "local", *, frames: int = 200, gap_s: float = 0.0, pair: Any = toys.pair, policy: str = "block",
         skew: int = 8, **right: Any) -> Workflow:
    made = Workflow("joined", sites={"here": Site("here", placer)})
    camera = made.add("camera", toys.camera, frames=frames, gap_s=gap_s)
    left = made.add("left", toys.count, camera)
    slow = made.add("right", toys.count, Wire("camera", policy=policy), **right)
    joined = made.add("pair", pair, left, slow, join=Join("frame", skew))
    made.add("add", toys.add, joined)
    return made


@pytest.mark.parametrize("placer", ["local", "inline"])
def test_a_slow_branch_holds_the_other_and_every_frame_finds_its_own(tmp_path: Path, placer: str) -> None:
    report = run(flow(placer, sleep_s=0.005), folder=tmp_path)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["pair"]["joined"] == report.operators["add"]["distinct"] == 200
    assert report.operators["add"]["total"] == 1001 * sum(range(200))


@pytest.mark.parametrize("pair", [toys.pair, toys.pair_anyway])
def test_a_branch_that_drops_frames_leaves_meetings_incomplete_and_the_report_says_so(
        tmp_path: Path, pair: Any) -> None:
    report = run(flow(pair=pair, policy="sample(4)"), folder=tmp_path)
    told, added = report.operators["pair"], report.operators["add"]
    assert report.verdict == "degraded"
    assert (told["joined"], told["incomplete"]) == (50, {"right": 150})
    anyway = pair is toys.pair_anyway
    assert "pair: 150 meetings without right" + ("" if anyway else " were set aside") in report.reasons
    assert added["distinct"] == (200 if anyway else 50)
    assert added["total"] == (1000 * sum(range(200)) + sum(range(0, 200, 4)) if anyway else
                              1001 * sum(range(0, 200, 4)))


@operator("choosy")
def choosy(left: CountFrames, right: CountFrames) -> CountFrames:
    """Raise at frame 20."""
    if 20 in left.index:
        raise ValueError("frame 20 is poison")
    return left


def test_a_meeting_on_which_the_operator_raises_is_set_aside_and_counts_once(tmp_path: Path) -> None:
    report = run(flow("inline", frames=60, pair=choosy), folder=tmp_path)
    assert report.reasons == ("1 frames lost: set aside by pair: ValueError: frame 20 is poison",)
    assert report.operators["add"]["distinct"] == report.frames["delivered"] == 59
    letters = [block for file in (tmp_path / "dead-letters").iterdir() for block in read_blocks(file)]
    assert sorted(block.header.source for block in letters) == ["left", "right"]
    assert {int(block.arrays["index"][0]) for block in letters} == {20}


@pytest.mark.parametrize("whom", ["right", "pair"])
def test_a_worker_that_is_killed_costs_time_but_no_meeting(tmp_path: Path, whom: str) -> None:
    statuses: list[RunStatus] = []
    made = flow(frames=300, gap_s=0.004).with_values({"camera.wait_at": 250})
    with open_run(made, folder=tmp_path, watch=statuses.append) as opened:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (statuses and statuses[-1].frames.get("captured")):
            time.sleep(0.05)
        time.sleep(0.5)
        child("worker", f"{whom}/0/").kill()
        (tmp_path / toys.GO).touch()
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert [r["operator"] for r in report.restarts] == [whom]
    assert report.operators["add"]["distinct"] == 300
    assert report.operators["add"]["total"] == 1001 * sum(range(300))


FILE = """workflow: joined
operators:
  camera: {use: "camlink.testing.toys:camera", frames: 1000, gap_s: 0.01}
  left: {use: "camlink.testing.toys:count", from: camera}
  right: {use: "camlink.testing.toys:count", from: camera}
  pair: {use: "camlink.testing.toys:pair", from: [left, right], join: {by: frame, skew: 8}}
  keep: {use: "camlink.testing.toys:keep", from: pair}
"""


def test_when_everybody_is_killed_recover_joins_what_is_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "joined.yaml").write_text(FILE)
    folder = tmp_path / "run"
    master = subprocess.Popen([sys.executable, "-m", "camlink", "run", str(tmp_path / "joined.yaml"), "--no-browser",
                               "--folder", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not ((folder / "kept.txt").exists()
                                               and len((folder / "kept.txt").read_text().split()) > 50):
        time.sleep(0.05)
    kill_all(master.pid)
    master.wait()
    for left in read_settings().sockets.glob(f"camlink-{master.pid}-*"):  # a killed master cannot clean up
        shutil.rmtree(left)
    before = set((folder / "kept.txt").read_text().split())
    story = list(finish(folder))
    kept = (folder / "kept.txt").read_text().split()
    assert len(kept) == len(set(kept))
    assert before <= set(kept)
    assert any(line.startswith("pair took") for line in story), story
    assert story[-1] == "finished; the journals are gone"
