"""The hand-written chain beside which links are measured: PUSH and PULL, zero-copy, JSON heads, nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq

from camlink.carry.account import Snapshot
from camlink.carry.bench.task import PATTERNS, SIDE, Clock, Outcome, Task, paced, patterns, total

HIGH_WATER: Final = 20


def _socket(task: Task, kind: int, name: str, *, bind: bool) -> Any:
    socket: Any = zmq.Context.instance().socket(kind)
    socket.set_hwm(HIGH_WATER)
    path = Path(task.folder, f"{name}.port")
    if task.by == "pyzmq ipc":
        (socket.bind if bind else socket.connect)(f"ipc://{task.folder}/{name}")
    elif bind:
        path.write_text(str(socket.bind_to_random_port("tcp://127.0.0.1")), encoding="utf8")
    else:
        while not (path.exists() and path.read_text(encoding="utf8")):
            time.sleep(0.01)
        socket.connect(f"tcp://127.0.0.1:{path.read_text(encoding='utf8')}")
    return socket


def produce(task: Task) -> dict[str, Snapshot]:
    """The producer."""
    frames = patterns(SIDE)
    socket = _socket(task, zmq.PUSH, "frames", bind=True)
    time.sleep(0.5)
    for number in paced(task):
        head = json.dumps({"seq": number, "t0": time.time()}).encode()
        frame = frames[number % PATTERNS]
        socket.send_multipart([head, frame.copy() if task.written else frame], copy=False)
    socket.send_multipart([b"{}", b""])
    zmq.Context.instance().destroy(linger=5000)
    return {}


def work(task: Task) -> dict[str, Snapshot]:
    """The worker."""
    pull, push = _socket(task, zmq.PULL, "frames", bind=False), _socket(task, zmq.PUSH, "sums", bind=False)
    while True:
        head, data = pull.recv_multipart(copy=False)
        told = json.loads(head.bytes)
        if not told:
            break
        told["sum"] = int(np.frombuffer(data.buffer, np.uint64).sum())
        push.send_multipart([json.dumps(told).encode(), data if task.whole else b""], copy=False)
    push.send_multipart([b"{}", b""])
    zmq.Context.instance().destroy(linger=5000)
    return {}


def collect(task: Task) -> Outcome:
    """The collector."""
    known = [total(frame) for frame in patterns(SIDE)]
    pull = _socket(task, zmq.PULL, "sums", bind=True)
    clock, right = Clock(task.frames), 0
    while True:
        head, _ = pull.recv_multipart(copy=False)
        told = json.loads(head.bytes)
        if not told:
            break
        clock.note(told["t0"], 1)
        right += told["sum"] == known[told["seq"] % PATTERNS]
    zmq.Context.instance().destroy(linger=0)
    return clock.outcome(right)
