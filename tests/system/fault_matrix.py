"""The fault matrix as data: what can go wrong, for whom, and what has to come of it.

Every cell {fault} x {role} has cases here, or a line in ELSEWHERE that says why it has none of its own.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import psutil
import zmq
from offspring import child

from camlink.block import RawFrames
from camlink.carry.disk.journal import write_blocks
from camlink.runtime.run import OpenRun
from camlink.settings import read_settings
from camlink.testing import toys
from camlink.testing.hostile import PAYLOADS
from camlink.workflow.graph import Workflow
from camlink.workflow.operator import Context, operator

FRAMES: Final = 200
ROLES: Final = ("source", "transform", "solver", "writer", "viewer", "agent", "master")
FAULTS: Final = ("sigkill", "sigstop", "exception", "poison", "full disk", "full shared memory", "slow", "never starts",
                 "spoiled blocks", "garbage", "clock jump")
OPERATOR: Final = {"source": "camera", "transform": "count", "solver": "add", "writer": "keep", "viewer": "look"}
Act = Callable[[OpenRun], None]


class Case(NamedTuple):
    """One case: what is done to whom, and what has to come of it; `whole` when no frame may be missing at the end."""

    fault: str
    role: str
    verdict: str
    reason: str = ""
    whole: bool = True
    values: Mapping[str, Any] = MappingProxyType({})
    act: Act | None = None
    begin: Act | None = None
    graph: str = "chain"
    kind: str = ""
    frames: int = FRAMES
    short: bool = False
    within_s: float = 60.0

    @property
    def id(self) -> str:
        """How the case is called."""
        return f"{self.fault}-{self.role}" + (f"-{self.kind}" if self.kind else "")


def chain(frames: int = FRAMES, **values: Any) -> Workflow:
    """camera -> count -> add (a solver), keep (a writer), look (a viewer)."""
    made = Workflow("faults")
    camera = made.add("camera", toys.camera, frames=frames, gap_s=0.01)
    count = made.add("count", toys.count, camera)
    return _used(made, camera, count).with_values(values)


def waiting(frames: int = FRAMES, **values: Any) -> Workflow:
    """The chain; its last quarter comes when the file GO is in the folder of the run."""
    return chain(frames, **{"camera.wait_at": frames * 3 // 4, **values})


def spilling(frames: int = FRAMES, **values: Any) -> Workflow:
    """The chain, with a disk between the camera and a transform that is too slow for it."""
    made = Workflow("faults")
    camera = made.add("camera", toys.camera, frames=frames, side=1024, gap_s=0.01)
    count = made.add("count", toys.count, camera, policy="spill", sleep_s=0.05)
    return _used(made, camera, count).with_values(values)


@operator("faults.noting")
def noting(*, frames: int = FRAMES, context: Context) -> Iterator[RawFrames]:
    """A camera that notes every frame before it gives it."""
    scan = toys.toy_scan(frames, 1024)
    with (context.folder / "offered.txt").open("w", encoding="utf8", buffering=1) as file:
        for index in range(frames):
            if context.stopping():
                return
            file.write(f"{index}\n")
            yield toys.toy_frames(scan, index, 1)


def lagging(frames: int = 2000, **values: Any) -> Workflow:
    """The chain with consumers that are too slow for it: all links are full, and the camera waits."""
    made = Workflow("faults")
    camera = made.add("camera", noting, frames=frames)
    count = made.add("count", toys.count, camera)
    return _used(made, camera, count).with_values({"add.sleep_s": 0.02, "keep.sleep_s": 0.02, **values})


def hoarding(frames: int = FRAMES, **values: Any) -> Workflow:
    """The chain with frames so large, and a writer that keeps so many, that shared memory is not enough."""
    made = Workflow("faults")
    camera = made.add("camera", toys.camera, frames=frames, side=1024, gap_s=0.01)
    count = made.add("count", toys.count, camera)
    made.add("add", toys.add, count)
    made.add("keep", toys.hoard, count)
    return made.with_values(values)


def hoarding_raw(frames: int = FRAMES, **values: Any) -> Workflow:
    """The same, where the source itself has no room left."""
    made = Workflow("faults")
    camera = made.add("camera", toys.camera, frames=frames, side=1024, gap_s=0.01)
    count = made.add("count", toys.count, camera)
    made.add("add", toys.add, count)
    made.add("keep", toys.hoard, camera)
    return made.with_values(values)


def taped_raw(frames: int = FRAMES, **values: Any) -> Workflow:
    """A tape instead of the camera: what it does wrong reaches the transform."""
    made = Workflow("faults")
    camera = made.add("camera", "tape.raw", **values)
    return _used(made, camera, made.add("count", toys.count, camera))


def taped_counts(frames: int = FRAMES, **values: Any) -> Workflow:
    """A tape and no transform: what it does wrong reaches solver, writer and viewer."""
    made = Workflow("faults")
    camera = made.add("camera", "tape.counts", **values)
    return _used(made, camera, camera)


def _used(made: Workflow, camera: Any, count: Any) -> Workflow:
    add = made.add("add", toys.add, count)
    made.add("keep", toys.keep, count)
    made.add("look", toys.look, camera, add, policy="latest")
    return made


GRAPHS: Final = {graph.__name__: graph for graph in (chain, waiting, spilling, lagging, hoarding, hoarding_raw,
                                                     taped_raw, taped_counts)}


def write_tape(path: Path, *, counts: bool, frames: int = FRAMES) -> None:
    """A tape of that many blocks of one frame, 5 ms apart."""
    scan = toys.toy_scan(frames)
    blocks = [toys.toy_frames(scan, index, 1) for index in range(frames)]
    made = [toys.count.make(toys.Slow(), None)(block) for block in blocks] if counts else blocks
    for index, block in enumerate(made):
        block.header.facts["passed_s"] = index * 0.005
    write_blocks(path, *made)


def pid_of(role: str, below: int | None = None) -> int:
    """The process of a role, which is named after its operator on the command line."""
    return child("agent" if role == "agent" else f"{OPERATOR.get(role, role)}/0/", below=below).pid


def send(role: str, number: signal.Signals) -> Act:
    """Send a signal to the process of a role."""
    return lambda _: os.kill(pid_of(role), number)


def pause(role: str, seconds: float) -> Act:
    """Stop the process of a role, and let it go on after a while."""
    def act(_: OpenRun) -> None:
        pid = pid_of(role)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # it was taken for stopped, and replaced
            os.kill(pid, signal.SIGCONT)
    return act


def no_larger_file(role: str, nbytes: int) -> Act:
    """From now on no file of the process of a role grows beyond that, shared memory included."""
    return lambda _: resource.prlimit(pid_of(role), resource.RLIMIT_FSIZE, (nbytes, nbytes))


def stop_at_birth(role: str) -> Act:
    """Stop the process of a role as soon as it is there, in a thread."""
    def watch() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.kill(pid_of(role), signal.SIGSTOP)
            except (AssertionError, psutil.Error):
                time.sleep(0.002)
            else:
                return
    return lambda _: threading.Thread(target=watch).start()


def sockets() -> set[Path]:
    """The socket folders of all runs of this test."""
    return set(read_settings().sockets.glob("camlink-*"))


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


ALL_WRONG: Final = "late=0.1,duplicated=0.3,reordered=0.3,late-s=0.3,seed=3"
CASES: Final = [
    Case("sigkill", "source", "complete", act=send("source", signal.SIGKILL)),
    Case("sigkill", "transform", "complete", act=send("transform", signal.SIGKILL), short=True),
    Case("sigkill", "solver", "complete", act=send("solver", signal.SIGKILL), short=True),
    Case("sigkill", "writer", "complete", act=send("writer", signal.SIGKILL), short=True),
    Case("sigkill", "agent", "complete", act=send("agent", signal.SIGKILL)),
    Case("sigstop", "source", "complete", act=send("source", signal.SIGSTOP)),
    Case("sigstop", "transform", "complete", act=send("transform", signal.SIGSTOP), short=True),
    Case("sigstop", "solver", "complete", act=send("solver", signal.SIGSTOP), short=True),
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
    Case("poison", "transform", "degraded", "set aside by count", whole=False, values={"count.die_at": 50},
         kind="deadly"),
    Case("poison", "solver", "degraded", "set aside by add", whole=False, values={"add.die_at": 50}, kind="deadly"),
    Case("poison", "writer", "degraded", "set aside by keep", whole=False, values={"keep.die_at": 50}, kind="deadly"),
    Case("full disk", "source", "degraded", "link camera->count: spill: ", graph="spilling", frames=120,
         act=no_larger_file("source", 1 << 20)),
    Case("full disk", "solver", "degraded", "could not have been replaced", short=True),
    Case("full disk", "writer", "failed", "No space left", whole=False, short=True),
    Case("full shared memory", "source", "complete", graph="hoarding_raw", frames=80),
    Case("full shared memory", "transform", "complete", graph="hoarding", frames=40),
    Case("full shared memory", "transform", "failed", "no shared memory", graph="hoarding", frames=60, whole=False,
         act=no_larger_file("transform", 1 << 20), kind="and no more"),
    Case("slow", "source", "complete", values={"camera.gap_s": 0.03}),
    Case("slow", "transform", "complete", values={"count.sleep_s": 0.02}),
    Case("slow", "solver", "complete", values={"add.sleep_s": 0.02}),
    Case("slow", "writer", "complete", values={"keep.sleep_s": 0.02}),
    Case("slow", "viewer", "complete", values={"look.sleep_s": 0.1}, short=True),
    Case("slow", "agent", "complete", act=pause("agent", 2.5)),
    Case("never starts", "source", "failed", "waited 3 s for camera", whole=False, values={"camera.start_s": 60.0}),
    Case("never starts", "transform", "failed", "waited 3 s for count", whole=False, values={"count.start_s": 60.0}),
    Case("never starts", "solver", "failed", "waited 3 s for add", whole=False, values={"add.start_s": 60.0}),
    Case("never starts", "writer", "failed", "keep and went no further", whole=False, values={"keep.start_s": 60.0},
         short=True),
    Case("never starts", "viewer", "failed", "waited 3 s for look", whole=False, values={"look.start_s": 8.0}),
    Case("never starts", "agent", "failed", "was stopped (SIGSTOP)", whole=False, begin=stop_at_birth("agent")),
    Case("spoiled blocks", "transform", "complete", graph="taped_raw", values={"faults": ALL_WRONG}),
    Case("spoiled blocks", "solver", "complete", graph="taped_counts", values={"faults": ALL_WRONG}, short=True),
    Case("spoiled blocks", "source", "degraded", "frames lost: corrupt and refused", graph="taped_raw", whole=False,
         values={"faults": f"corrupt=0.1,lost=0.05,{ALL_WRONG}"}),
    Case("garbage", "every socket", "complete", act=pollute, short=True),
]
_THREAD: Final = "the page and its views live with the master: see master"
_NO_CODE: Final = "runs no code of an operator; an error of its own ends it: see sigkill"
_NO_BLOCK: Final = "no block passes it"
_EVERY: Final = "one case for every socket of a run; those of the page: test_page_attacks.py"
_ONE: Final = "a machine has one clock: one case for all roles"
_MASTER: Final = "test_the_master_is_killed_or_stopped_for_a_while"
_CLOCK: Final = "test_a_wall_clock_that_is_set_changes_nothing"
ELSEWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("sigkill", "viewer"): _THREAD, ("sigstop", "viewer"): _THREAD,
    ("sigkill", "master"): _MASTER, ("sigstop", "master"): _MASTER, ("slow", "master"): _MASTER,
    ("exception", "agent"): _NO_CODE, ("exception", "master"): _NO_CODE,
    ("poison", "source"): "takes no blocks; its own errors: see exception",
    ("poison", "viewer"): "a view is never fed again; it ends at its first error: see exception",
    ("poison", "agent"): _NO_BLOCK, ("poison", "master"): _NO_BLOCK,
    ("full disk", "transform"): "a function keeps nothing on the disk; a class does as a solver does",
    ("full disk", "viewer"): "writes no file", ("full disk", "agent"): "writes no file",
    ("full disk", "master"): "test_the_disk_of_the_log_is_full",
    ("full shared memory", "solver"): "sends as a transform does",
    ("full shared memory", "writer"): "sends no blocks", ("full shared memory", "viewer"): "sends no blocks",
    ("full shared memory", "agent"): _NO_BLOCK, ("full shared memory", "master"): _NO_BLOCK,
    ("never starts", "master"): "there is no run without it",
    ("spoiled blocks", "writer"): "with the solver: both stand behind the same tape",
    ("spoiled blocks", "viewer"): "with the solver: both stand behind the same tape",
    ("spoiled blocks", "agent"): _NO_BLOCK, ("spoiled blocks", "master"): _NO_BLOCK,
    **{("garbage", role): _EVERY for role in ROLES}, **{("clock jump", role): _CLOCK for role in ROLES},
}
