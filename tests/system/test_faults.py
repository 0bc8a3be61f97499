"""The fault matrix: what happens to a run when something goes wrong, for every kind of fault and every role.

Of every case: the expected verdict and reason, the law of accounts on every link, an end in bounded time, and no
process and no socket left behind. The short form is part of all tests; `make faults` (--full) runs every case.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from fault_matrix import CASES, ELSEWHERE, FAULTS, FRAMES, GRAPHS, OPERATOR, ROLES, Case, pid_of, sockets, write_tape
from offspring import kill_all, words_of

from camlink.carry.disk.spilling import read_spilled
from camlink.runtime import states
from camlink.runtime.finish import finish
from camlink.runtime.report import Report
from camlink.runtime.run import open_run
from camlink.runtime.status import RunStatus
from camlink.testing import toys

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def test_every_cell_of_the_matrix_has_a_case_or_a_reason() -> None:
    cells = {(fault, role) for fault in FAULTS for role in ROLES}
    tried = {(case.fault, case.role) for case in CASES} & cells
    assert tried | set(ELSEWHERE) == cells
    assert not tried & set(ELSEWHERE)
    assert len({case.id for case in CASES}) == len(CASES)
    assert all(name in globals() for name in ELSEWHERE.values() if name.startswith("test_the"))


def play(case: Case, folder: Path) -> Report:
    """Run the workflow, let the fault happen once frames flow, however late we hear of them, and wait for the end."""
    statuses: list[RunStatus] = []
    flow = GRAPHS[case.graph](case.frames, **case.values)
    if case.act is not None:
        flow = flow.with_values({"camera.wait_at": case.frames * 3 // 4, "camera.gap_s": 0.005})
    with open_run(flow, folder=folder, watch=statuses.append) as opened:
        if case.begin is not None:
            case.begin(opened)
        if case.act is not None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and (not statuses or statuses[-1].frames.get("captured", 0) < 20):
                time.sleep(0.02)
            case.act(opened)
            (folder / toys.GO).touch()
        return opened.wait(case.within_s)


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.id, marks=() if case.short else pytest.mark.full) for case in CASES])
def test_a_fault_ends_as_it_should(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   record_property: Any) -> None:
    if case.fault == "never starts":
        monkeypatch.setitem(states.PATIENCE_S, "services", 3.0)
    if case.fault == "full disk" and case.role != "source":
        full = tmp_path / ("kept.txt" if case.role == "writer" else "journal/add-0-frames.blocks")
        full.parent.mkdir(exist_ok=True)
        full.symlink_to("/dev/full")
    if case.fault == "spoiled blocks":
        tape = tmp_path / "tape.blocks"
        write_tape(tape, counts=case.graph == "taped_counts")
        case = case._replace(values={**case.values, "file": str(tape)})
    report = play(case, tmp_path)
    tell(record_property, case.fault, case.role, report, case.kind)
    assert report.verdict == case.verdict, report.reasons
    assert case.reason in " | ".join(report.reasons)
    check_account(report)
    if case.whole:
        assert report.frames["delivered"] == report.operators["add"]["distinct"] == case.frames
        assert report.operators["add"]["total"] == sum(range(case.frames))
    if case.fault.startswith("sig") and case.verdict == "complete":
        gone = {"agent": ["add", "camera", "count", "keep"]}.get(case.role, [OPERATOR.get(case.role)])
        assert sorted(r["operator"] for r in report.restarts) == gone
        assert all(restart["took_s"] for restart in report.restarts)
    if case.verdict == "complete" and (tmp_path / "kept.txt").exists():
        assert sorted(map(int, (tmp_path / "kept.txt").read_text().split())) == list(range(case.frames))
    if case.fault == "poison":
        assert sum(report.frames["lost"].values()) == 1
        assert not list((tmp_path / "journal").iterdir())  # nobody needs it after a good end
    if case.fault == "spoiled blocks":
        lost = sum(report.frames["lost"].values())
        assert report.frames["delivered"] == report.operators["add"]["distinct"] == case.frames - lost
        assert bool(lost) is not case.whole


def tell(record: Any, fault: str, role: str, report: Report | None, kind: str = "") -> None:
    """A row of the table at the end; without a report when the run was finished by `camlink recover`."""
    took = [restart["took_s"] for restart in report.restarts if restart["took_s"]] if report else []
    record("fault", {
        "fault": fault, "role": role, "kind": kind, "verdict": report.verdict if report else "recovered",
        "why": report.reasons[0][:70] if report and report.reasons else "",
        "frames lost": sum(report.frames["lost"].values()) if report else 0,
        "replaced": len(report.restarts) if report else 0, "recovered [s]": max(took, default="")})


def check_account(report: Report) -> None:
    """On every link sent = acknowledged + lost, and nothing is under way."""
    for link in report.links:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
        assert link["in_flight"] == 0


def start_master(folder: Path, graph: str = "waiting", **more: str) -> subprocess.Popen[bytes]:
    """A master of its own with a graph, once frames were written; `more` is its environment."""
    code = ("import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import fault_matrix as t; "
            "from camlink.runtime.run import open_run; "
            "r = open_run(t.GRAPHS[sys.argv[3]](), folder=Path(sys.argv[1])).wait(60); "
            "r.write(Path(sys.argv[1]) / 'report.json')")
    master = subprocess.Popen([sys.executable, "-c", code, str(folder), str(Path(__file__).parent), graph],
                              env={**os.environ, **more})
    kept = folder / "kept.txt"
    deadline = time.monotonic() + 30
    while not (kept.exists() and len(kept.read_bytes()) > 50):
        assert time.monotonic() < deadline, "no frame was written"
        time.sleep(0.05)
    return master


def end_of(master: subprocess.Popen[bytes], folder: Path) -> Report:
    """The report of a master that ends by itself, now that it may."""
    (folder / toys.GO).touch()
    assert master.wait(60) == 0
    report = msgspec.json.decode((folder / "report.json").read_bytes(), type=Report)
    check_account(report)
    assert report.frames["delivered"] == report.operators["add"]["distinct"] == FRAMES
    return report


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.full)])
def test_the_master_is_killed_or_stopped_for_a_while(tmp_path: Path, how: str, record_property: Any) -> None:
    master = start_master(tmp_path, "lagging" if how == "killed" else "waiting")
    kept = tmp_path / "kept.txt"
    below = psutil.Process(master.pid).children(recursive=True)
    assert sum("nursery" not in words_of(process) for process in below) == 5
    if how == "killed":
        master.kill()
        master.wait()
        story = list(finish(tmp_path))  # at once: workers still save what is under way
        assert psutil.wait_procs(below, timeout=10)[1] == []  # ended, and buried by whom they were left to
        assert sockets() == set()
        offered = len((tmp_path / "offered.txt").read_text().split())
        assert sorted(map(int, kept.read_text().split())) == list(range(offered))  # also what was under way, each once
        assert any(f"add took {offered} frames" in line for line in story), story
        assert not any("are gone" in line for line in story[:-1]), story
        assert any(line.startswith("spill/camera-0-0 holds") for line in story), story
        assert story[-1] == "finished; the journals are gone"
        assert list(finish(tmp_path))[-1] == "nothing is left to finish"
        tell(record_property, "sigkill", "master", None)
        return
    master.send_signal(signal.SIGSTOP)
    time.sleep(states.SILENCE_S + 2)
    master.send_signal(signal.SIGCONT)
    report = end_of(master, tmp_path)
    assert (report.verdict, report.restarts) == ("complete", ())
    tell(record_property, "sigstop", "master", report)


def sweep() -> None:
    """A killed master cannot clean its sockets up; the next run does."""
    for left in sockets():
        assert all(f.is_socket() or f.suffix == ".hand" for f in left.iterdir())
        for file in left.iterdir():
            file.unlink()
        left.rmdir()


def test_everybody_is_killed_and_what_waited_on_the_disk_is_finished(tmp_path: Path, record_property: Any) -> None:
    master = start_master(tmp_path, "spilling")
    waiting = tmp_path / "spill" / "camera-0-0"
    deadline = time.monotonic() + 30
    while not (waiting.exists() and waiting.stat().st_size > 40 << 20):
        assert time.monotonic() < deadline, "too little waits on the disk"
        time.sleep(0.02)
    kill_all(master.pid)
    master.wait()
    sweep()
    kept = tmp_path / "kept.txt"
    before = set(map(int, kept.read_text().split()))
    spilled = {int(index) for block in read_spilled(waiting) if block for index in block.arrays["index"]}
    assert len(spilled) > 15
    story = list(finish(tmp_path))
    taken = [int(index) for index in kept.read_text().split()]
    assert len(taken) == len(set(taken))
    assert before | spilled <= set(taken)
    assert any(f"add took {len(taken)} frames" in line for line in story), story
    assert any(f"{len(spilled)} frames that waited" in line for line in story), story
    assert story[-1] == "finished; the journals are gone"
    assert not waiting.exists()
    tell(record_property, "sigkill", "master", None, "and all others")


@pytest.mark.full
def test_the_disk_of_the_log_is_full(tmp_path: Path, record_property: Any) -> None:
    master = start_master(tmp_path)
    written = (tmp_path / "events.jsonl").stat().st_size
    resource.prlimit(master.pid, resource.RLIMIT_FSIZE, (written, written))
    report = end_of(master, tmp_path)
    assert (report.verdict, report.restarts) == ("degraded", ())
    assert any("events.jsonl" in reason for reason in report.reasons)
    tell(record_property, "full disk", "master", report)


WALL_CLOCK = """
import os, time
_true = time.time
def _set():
    with open(os.environ["CLOCK_HAND"]) as hand:
        return _true() + float(hand.read() or 0)
time.time = _set
"""


def test_a_wall_clock_that_is_set_changes_nothing(tmp_path: Path, record_property: Any) -> None:
    hand = tmp_path / "hand"
    hand.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(WALL_CLOCK)  # every Python process below runs this first
    master = start_master(tmp_path, PYTHONPATH=str(tmp_path), CLOCK_HAND=str(hand))
    hand.write_text("7200")
    time.sleep(0.3)
    os.kill(pid_of("transform", master.pid), signal.SIGKILL)  # whoever is started now knows no other time
    time.sleep(0.3)
    hand.write_text("-7200")
    report = end_of(master, tmp_path)
    assert (report.verdict, [r["operator"] for r in report.restarts]) == ("complete", ["count"])
    for link in report.links:
        assert max(link["age_ms"]["max"], link["hop_ms"]["max"]) < 60e3, link
    assert 0 < (report.times["last_frame_s"] or 0) < 60
    tell(record_property, "clock jump", "every role", report)
