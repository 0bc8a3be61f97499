"""The fault matrix: what happens to a run when something goes wrong, for every kind of fault and every role.

Of every case: the expected verdict and reason, the law of accounts on every link, an end in bounded time, and no
process and no socket left behind. The short form is part of all tests; `make faults` (--full) runs every case.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil
import pytest
import zmq

from camlink.runtime import states
from camlink.runtime.finish import finish
from camlink.runtime.report import Report
from camlink.runtime.run import OpenRun, open_run
from camlink.runtime.status import RunStatus
from camlink.settings import read_settings
from camlink.testing import toys
from camlink.testing.hostile import PAYLOADS
from camlink.workflow.graph import Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]
FRAMES = 200
OPERATOR = {"source": "camera", "transform": "count", "solver": "add", "writer": "keep", "viewer": "look"}


class Case(NamedTuple):
    """One cell: what is done to whom, and what has to come of it; `whole` when no frame may be missing at the end."""

    fault: str
    role: str
    verdict: str
    reason: str = ""
    whole: bool = True
    values: Mapping[str, Any] = MappingProxyType({})
    act: Callable[[OpenRun], None] | None = None
    short: bool = False
    within_s: float = 40.0

    @property
    def id(self) -> str:
        """How the case is called."""
        return f"{self.fault}-{self.role}"


def flow(**values: Any) -> Workflow:
    """camera -> count -> add (a solver), keep (a writer), look (a viewer)."""
    made = Workflow("faults")
    camera = made.add("camera", toys.camera, frames=FRAMES, gap_s=0.01)
    count = made.add("count", toys.count, camera)
    add = made.add("add", toys.add, count)
    made.add("keep", toys.keep, count)
    made.add("look", toys.look, camera, add, policy="latest")
    return made.with_values(values)


def pid_of(role: str) -> int:
    """The process of a role, which is named after its operator on the command line."""
    for process in psutil.Process().children(recursive=True):
        words = process.cmdline()
        if any(word.startswith(f"{OPERATOR.get(role, role)}/0/") for word in words) or (role == "agent" in words):
            return process.pid
    raise AssertionError(f"no process of {role}")


def send(role: str, number: signal.Signals) -> Callable[[OpenRun], None]:
    """Send a signal to the process of a role."""
    return lambda _: os.kill(pid_of(role), number)


def pollute(_: OpenRun) -> None:
    """Garbage on every socket of the run, as bytes and as messages."""
    context: zmq.Context[Any] = zmq.Context()
    for path in (p for folder in sockets() for p in folder.iterdir() if p.is_socket()):
        for payload in PAYLOADS.values():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
                raw.settimeout(1)
                try:
                    raw.connect(str(path))
                    raw.sendall(payload)
                except OSError:
                    continue  # it hung up on us, or is no stream: as it should be
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 200)
        dealer.connect(f"ipc://{path}")
        for payload in PAYLOADS.values():
            dealer.send_multipart([payload, payload])
        dealer.close()
    context.term()


CASES = [
    Case("sigkill", "source", "complete", act=send("source", signal.SIGKILL)),
    Case("sigkill", "transform", "complete", act=send("transform", signal.SIGKILL), short=True),
    Case("sigkill", "solver", "complete", act=send("solver", signal.SIGKILL), short=True),
    Case("sigkill", "writer", "complete", act=send("writer", signal.SIGKILL), short=True),
    Case("sigkill", "agent", "complete", act=send("agent", signal.SIGKILL)),
    Case("sigstop", "source", "complete", act=send("source", signal.SIGSTOP)),
    Case("sigstop", "transform", "complete", act=send("transform", signal.SIGSTOP), short=True),
    Case("sigstop", "solver", "complete", act=send("solver", signal.SIGSTOP)),
    Case("sigstop", "writer", "complete", act=send("writer", signal.SIGSTOP)),
    Case("sigstop", "agent", "complete", act=send("agent", signal.SIGSTOP)),
    Case("exception", "source", "failed", "camera: ValueError", whole=False, values={"camera.raise_at": 50}),
    Case("exception", "transform", "failed", "10 blocks in a row", whole=False, values={"count.raise_from": 50}),
    Case("exception", "solver", "failed", "given up after", whole=False, values={"add.raise_from": 50}),
    Case("exception", "writer", "failed", "given up after", whole=False, values={"keep.raise_from": 50}),
    Case("exception", "viewer", "degraded", "look: ValueError", values={"look.raise_from": 50}, short=True),
    Case("poison", "transform", "degraded", "set aside by count", whole=False, values={"count.raise_at": 50},
         short=True),
    Case("poison", "solver", "degraded", "set aside by add", whole=False, values={"add.raise_at": 50}, short=True),
    Case("poison", "writer", "degraded", "set aside by keep", whole=False, values={"keep.raise_at": 50}),
    Case("deadly poison", "transform", "degraded", "set aside by count", whole=False, values={"count.die_at": 50}),
    Case("full disk", "solver", "degraded", "could not have been replaced", short=True),
    Case("full disk", "writer", "failed", "No space left", whole=False, short=True),
    Case("slow", "transform", "complete", values={"count.sleep_s": 0.02}),
    Case("slow", "solver", "complete", values={"add.sleep_s": 0.02}),
    Case("slow", "writer", "complete", values={"keep.sleep_s": 0.02}),
    Case("slow", "viewer", "complete", values={"look.sleep_s": 0.1}, short=True),
    Case("never starts", "transform", "failed", "waited 3 s for count", whole=False, values={"count.start_s": 60.0}),
    Case("never starts", "solver", "failed", "waited 3 s for add", whole=False, values={"add.start_s": 60.0}),
    Case("never starts", "writer", "failed", "waited 3 s for keep", whole=False, values={"keep.start_s": 60.0},
         short=True),
    Case("garbage", "every socket", "complete", act=pollute, short=True),
]


def sockets() -> set[Path]:
    return set(read_settings().sockets.glob("camlink-*"))


def play(case: Case, folder: Path) -> Report:
    """Run the workflow, let the fault happen once frames flow, and wait for the end."""
    statuses: list[RunStatus] = []
    with open_run(flow(**case.values), folder=folder, watch=statuses.append) as opened:
        if case.act is not None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and (not statuses or statuses[-1].frames.get("captured", 0) < 20):
                time.sleep(0.02)
            case.act(opened)
        return opened.wait(case.within_s)


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.id, marks=() if case.short else pytest.mark.full) for case in CASES])
def test_a_fault_ends_as_it_should(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.fault == "never starts":
        monkeypatch.setitem(states.PATIENCE_S, "services", 3.0)
    if case.fault == "full disk":
        full = tmp_path / ("kept.txt" if case.role == "writer" else "journal/add-0-frames.blocks")
        full.parent.mkdir(exist_ok=True)
        full.symlink_to("/dev/full")
    report = play(case, tmp_path)
    assert report.verdict == case.verdict, report.reasons
    assert case.reason in " | ".join(report.reasons)
    for link in report.links:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
        assert link["in_flight"] == 0
    if case.whole:
        assert report.frames["delivered"] == report.operators["add"]["distinct"] == FRAMES
        assert report.operators["add"]["total"] == sum(range(FRAMES))
    if case.fault.startswith("sig") and case.verdict == "complete":
        gone = {"agent": ["add", "camera", "count", "keep"]}.get(case.role, [OPERATOR.get(case.role)])
        assert sorted(r["operator"] for r in report.restarts) == gone
        assert sorted(map(int, (tmp_path / "kept.txt").read_text().split())) == list(range(FRAMES))
    if "poison" in case.fault:
        assert sum(report.frames["lost"].values()) == 1


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.full)])
def test_the_master_is_killed_or_stopped_for_a_while(tmp_path: Path, how: str) -> None:
    code = ("import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import test_faults as t; "
            "r = t.open_run(t.flow(), folder=Path(sys.argv[1])).wait(60); r.write(Path(sys.argv[1]) / 'report.json')")
    master = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)])
    kept = tmp_path / "kept.txt"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (kept.exists() and len(kept.read_bytes()) > 50):
        time.sleep(0.05)
    below = psutil.Process(master.pid).children(recursive=True)
    assert len(below) == 5
    if how == "killed":
        master.kill()
        master.wait()
        _, alive = psutil.wait_procs(below, timeout=10)
        assert alive == []
        for left in sockets():  # a killed master cannot clean; the next run does
            assert all(f.is_socket() or f.suffix == ".hand" for f in left.iterdir())
            for file in left.iterdir():
                file.unlink()
            left.rmdir()
        story = list(finish(tmp_path))
        taken = sorted(map(int, kept.read_text().split()))
        assert taken == list(range(len(taken)))  # all that was taken by anybody, each once
        assert any(f"add took {len(taken)} frames" in line for line in story), story
        assert story[-1] == "finished; the journals are gone"
        assert list(finish(tmp_path))[-1] == "nothing is left to finish"
        return
    master.send_signal(signal.SIGSTOP)
    time.sleep(states.SILENCE_S + 2)
    master.send_signal(signal.SIGCONT)
    assert master.wait(60) == 0
    import msgspec

    report = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert (report["verdict"], report["frames"]["delivered"], report["restarts"]) == ("complete", FRAMES, [])
