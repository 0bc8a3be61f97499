"""The job that every peer does, as the bench of camlink does it: 1 MiB frames in, the sum of each out, all checked.

The peers live in an environment of their own, so nothing of camlink is imported here.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

SHAPE = (1024, 512)  # uint16: 1 MiB
PATTERNS = 8


def patterns() -> np.ndarray:
    """The frames (PATTERNS, y, x) uint16 that are sent in turn."""
    return np.random.default_rng(1).integers(0, 1 << 16, (PATTERNS, *SHAPE), dtype=np.uint16)


def total(frame: Any) -> int:
    """The work: the sum of the bytes of a frame seen as uint64, modulo 2^64."""
    return int(np.frombuffer(frame, np.uint64).sum())


def asked(title: str) -> argparse.Namespace:
    """What is asked of a run: how many frames, how many a second (0: as fast as they are taken), whole frames on."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--per-s", type=float, default=0.0)
    parser.add_argument("--whole", action="store_true", help="the frame goes on with its sum")
    parser.add_argument("part", nargs="?", default="", help="used between the processes of a run")
    return parser.parse_args()


def paced(frames: int, per_s: float) -> Iterator[int]:
    """Frame numbers, each when it is due."""
    due = time.perf_counter()
    for number in range(frames):
        if per_s:
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            due += 1 / per_s
        yield number


def tell(peer: str, sent: int, rows: Sequence[tuple[int, int, float, float]], note: str = "") -> None:
    """Print the figures of a run as JSON; rows are (frame, sum, made_s, arrived_s) in order of arrival."""
    if not rows:
        return fail(peer, "the collector saw nothing")
    known = [total(frame) for frame in patterns()]
    number, sums, made_s, arrived_s = (list(column) for column in zip(*rows, strict=True))
    ages_ms = 1e3 * (np.array(arrived_s) - np.array(made_s))
    right = {n for n, value in zip(number, sums, strict=True) if value == known[n % PATTERNS]}
    print(json.dumps({
        "peer": peer, "sent": sent, "received": len(rows), "right": len(right), "lost": sent - len(set(number)),
        "out_of_order": int((np.diff(number) < 0).sum()), "first": min(number),
        "frames_per_s": round((len(rows) - 1) / max(arrived_s[-1] - arrived_s[0], 1e-9), 1),
        "ages_ms": {name: round(float(np.percentile(ages_ms, q)), 3) for name, q in
                    (("p50", 50), ("p99", 99), ("max", 100))}, "note": note}), flush=True)


def fail(peer: str, why: str) -> None:
    """Print that there are no figures, and why."""
    print(json.dumps({"peer": peer, "failed": why}), flush=True)


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that are free now."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, the last started first; insist after 5 s."""
    for process in reversed(processes):
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
