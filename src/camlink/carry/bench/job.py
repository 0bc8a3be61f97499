"""The job over links of camlink: each of the three processes, and the run that starts them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from camlink.block import Header, RawFrames, Result, Scan
from camlink.carry.account import Snapshot
from camlink.carry.bench import chain
from camlink.carry.bench.task import (
    PATTERNS,
    RUN_S,
    SIDE,
    SMALL,
    START_S,
    Clock,
    Outcome,
    Task,
    paced,
    patterns,
    total,
)
from camlink.carry.envelope import encode
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Outlet
from camlink.carry.zmq import ZmqOutlet
from camlink.clock import now_s
from camlink.errors import PeerLost

AGE_S: Final = 0.002
"""A source gives the block that it fills when its oldest frame is so old."""
LIMIT_BYTES: Final = {"shm": 32 << 20, "zmq": 20 << 20}
"""Credit of each link: half of what a link has by itself; by ZeroMQ as much as one high-water mark of the chain."""


class _Cost(msgspec.Struct):
    """What a process used of a processor, a frame [us]."""

    cpu_us: float


class _Sent(_Cost):
    """What the producer or the worker says at its end."""

    said: dict[str, Snapshot]


class _Collected(_Cost):
    """What the collector says at its end."""

    said: Outcome


class _Sender:
    """An outlet with the waiting that an operator's side does."""

    def __init__(self, context: zmq.Context[Any], task: Task, name: str) -> None:
        kind: Literal["shm", "zmq"] = "shm" if task.by == "shm" else "zmq"
        limit_bytes = LIMIT_BYTES[kind]
        self.outlet: Outlet = (
            ZmqOutlet(context, "tcp://127.0.0.1:*", name, limit_bytes=limit_bytes) if task.by == "zmq tcp"
            else make_outlet(context, kind, name, f"{task.folder}/{name}", limit_bytes=limit_bytes))
        self._source, self._sequence = name, 0
        self._poller = zmq.Poller()
        self._poller.register(self.outlet.pollable, zmq.POLLIN)
        Path(task.folder, f"{name}.address").write_text(self.outlet.address, encoding="utf8")

    def pause(self, true: str) -> None:
        """Wait until the outlet says that `true` holds."""
        deadline = time.monotonic() + RUN_S
        while not getattr(self.outlet, true):
            self._poller.poll(100)
            self.outlet.pump()
            if time.monotonic() > deadline:
                raise PeerLost(f"link {self._source}: not {true} after {RUN_S:g} s")

    def send(self, kind: type[RawFrames | Result], header: Header, arrays: dict[str, Any]) -> None:
        """Stamp and send a block."""
        header = msgspec.structs.replace(header, source=self._source, sequence=self._sequence)
        self._sequence += 1
        block = kind(header, arrays)
        parts = encode(block)
        while not self.outlet.offer(block, parts):
            self._poller.poll(100)

    def close(self) -> Snapshot:
        """End the stream; the account at its end."""
        self.outlet.finish()
        self.pause("finished")
        snapshot = self.outlet.account.snapshot()
        self.outlet.close()
        return snapshot


def _found(context: zmq.Context[Any], task: Task, name: str) -> Inlet:
    path, deadline = Path(task.folder, f"{name}.address"), time.monotonic() + START_S
    while not (path.exists() and path.read_text(encoding="utf8")):
        if time.monotonic() > deadline:
            raise PeerLost(f"link {name}: no sender after {START_S:g} s")
        time.sleep(0.01)
    return make_inlet(context, path.read_text(encoding="utf8"), name, "bench")


def _blocks(inlet: Inlet) -> Iterator[Any]:
    poller, deadline = zmq.Poller(), time.monotonic() + RUN_S
    poller.register(inlet.pollable, zmq.POLLIN)
    while not inlet.ended:
        block = inlet.receive()
        if block is not None:
            yield block
            inlet.release()
        elif not inlet.ended and not poller.poll(1000) and time.monotonic() > deadline:
            raise PeerLost(f"the run is not over after {RUN_S:g} s")


def produce(task: Task) -> dict[str, Snapshot]:
    """Make frames, some in a block."""
    frames = patterns(SMALL if task.small else SIDE)
    scan = Scan(id="bench", expected=task.frames, shape=SMALL if task.small else SIDE, pixel_m=(3e-5, 3e-5),
                distance_m=0.1, energy_eV=800.0, span_m=(0.0, 0.0, 0.0, 0.0))
    sender = _Sender(zmq.Context.instance(), task, "frames")
    sender.pause("ready")
    if task.small:
        _produce_small(task, sender, frames, scan)
    else:
        _produce_large(task, sender, frames, scan)
    return {"frames": sender.close()}


def _produce_small(task: Task, sender: _Sender, frames: NDArray[np.uint16], scan: Scan) -> None:
    """Write frame after frame where the link has room for the block, until that is full or old, as sources do."""
    many = task.together
    index, kind, dwell, position = np.arange(task.frames), np.ones(many, np.uint8), np.ones(many), np.zeros((many, 2))
    room, when, first = sender.outlet.room((many, *SMALL), frames.dtype), np.empty(many), 0
    for number in paced(task):
        count = number + 1 - first
        room[count - 1], when[count - 1] = frames[number % PATTERNS], now_s()
        if count == many or when[count - 1] - when[0] > AGE_S or number + 1 == task.frames:
            some = slice(first, number + 1)
            sender.send(RawFrames, Header(scan=scan, made_s=float(when[0])), {
                "frames": room[:count], "index": index[some], "point": index[some], "kind": kind[:count],
                "dwell_s": dwell[:count], "position_m": position[:count], "time_s": when[:count]})
            room, when, first = sender.outlet.room(room.shape, room.dtype), np.empty(many), number + 1


def _produce_large(task: Task, sender: _Sender, frames: NDArray[np.uint16], scan: Scan) -> None:
    many = task.together
    index, kind, dwell = np.arange(task.frames), np.ones(many, np.uint8), np.ones(many)
    position, when = np.zeros((many, 2)), np.zeros(many)
    groups = [frames[first:first + many] for first in range(0, PATTERNS, many)]
    ready = [] if task.written else [_written(sender.outlet, group) for group in groups]
    for n in paced(task):
        turn, rest = divmod(n, many)
        if rest:
            continue
        group = _written(sender.outlet, groups[turn % len(groups)]) if task.written else ready[turn % len(groups)]
        some = slice(n, n + many)
        sender.send(RawFrames, Header(scan=scan, made_s=now_s()), {
            "frames": group, "index": index[some], "point": index[some], "kind": kind,
            "dwell_s": dwell, "position_m": position, "time_s": when})


def _written(outlet: Outlet, group: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The frames of a block, where the link has room for them."""
    room: NDArray[np.uint16] = outlet.room(group.shape, group.dtype)
    room[...] = group
    return room


def work(task: Task) -> dict[str, Snapshot]:
    """Sum every frame; send the sums on, with the frames when the task says so."""
    context: zmq.Context[Any] = zmq.Context.instance()
    sender = _Sender(context, task, "sums")
    inlet = _found(context, task, "frames")
    sender.pause("ready")
    for block in _blocks(inlet):
        sums = block.frames.reshape(block.count, -1).view(np.uint64).sum(axis=1)
        if task.whole:
            sender.send(RawFrames, block.header, {**block.arrays, "sum": sums})
        else:
            sender.send(Result, block.header, {"index": block.index, "sum": sums})
    received = inlet.account.snapshot()
    inlet.close()
    return {"sums": sender.close(), "received": received}


def collect(task: Task) -> Outcome:
    """Check every sum; the figures."""
    known = np.array([total(frame) for frame in patterns(SMALL if task.small else SIDE)], np.uint64)
    inlet = _found(zmq.Context.instance(), task, "sums")
    clock, seen = Clock(task.frames), np.zeros(task.frames, bool)
    for block in _blocks(inlet):
        clock.note(block.header.made_s, len(block.arrays["sum"]))
        index = block.arrays["index"]
        seen[index] = block.arrays["sum"] == known[index % PATTERNS]
    inlet.close()
    return clock.outcome(int(seen.sum()))


ROLES: Final = {
    "links": {"produce": produce, "work": work, "collect": collect},
    "plain": {"produce": chain.produce, "work": chain.work, "collect": chain.collect},
}


def run(task: Task) -> Outcome:
    """One run: three processes; raises PeerLost when one fails or the time is over."""
    with tempfile.TemporaryDirectory() as folder:
        said = _said(msgspec.structs.replace(task, folder=folder))
    sent: dict[str, Snapshot] = {}
    for role in ("produce", "work"):
        sent.update(msgspec.json.decode(said[role], type=_Sent).said)
    faults = [f"{name}: {fault}" for name, account in sent.items() if (fault := account.fault())
              and name != "received"]
    collected = msgspec.json.decode(said["collect"], type=_Collected)
    cpu_us = {role: msgspec.json.decode(text, type=_Cost).cpu_us for role, text in said.items()}
    return msgspec.structs.replace(collected.said, accounts=sent, faults=faults, cpu_us=cpu_us)


def _said(task: Task) -> dict[str, bytes]:
    """What each process said at its end; the failure of one ends all."""
    told = msgspec.json.encode(task).decode()
    files = {role: Path(task.folder, f"{role}.json") for role in ("collect", "work", "produce")}
    processes = {role: subprocess.Popen([sys.executable, "-m", "camlink.carry.bench.job", role, told, str(file)])
                 for role, file in files.items()}
    deadline = time.monotonic() + RUN_S + START_S
    try:
        while any(process.poll() is None for process in processes.values()):
            failed = [f"the process of '{r}' ended with code {p.poll()}" for r, p in processes.items() if p.poll()]
            if failed or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        failed = [f"the process of '{r}' ended with code {p.poll()}" for r, p in processes.items() if p.poll() != 0]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    if failed:
        raise PeerLost(f"{task.by}: {failed[0]} (None: it was not over after {RUN_S + START_S:g} s); see its output")
    return {role: file.read_bytes() for role, file in files.items()}


def _play(role: str, task: Task) -> bytes:
    """Do a role; what it says, and what it cost."""
    begun_s = time.process_time()
    said = ROLES["plain" if task.by.startswith("pyzmq") else "links"][role](task)
    return msgspec.json.encode({"said": said, "cpu_us": round((time.process_time() - begun_s) / task.frames * 1e6, 1)})


if __name__ == "__main__":
    role, text, out = sys.argv[1:]
    Path(out).write_bytes(_play(role, msgspec.json.decode(text, type=Task)))
