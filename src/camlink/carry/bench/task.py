"""Task: the job that every chain does, and how its outcome is taken: frames in, the sum of each out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.carry.account import Snapshot
from camlink.clock import now_s

SIDE: Final = (1024, 512)  # uint16: 1 MiB
SMALL: Final = (64, 32)  # uint16: 4 KiB
PATTERNS: Final = 8
START_S: Final = 60.0
RUN_S: Final = 120.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the job; `per_s` 0 is as fast as possible, `small` sends frames of 4 KiB.

    `written`: the producer writes every frame anew, as a detector's does; else it sends ready ones again and again.
    `together`: frames in a block of ours; what is compared sends each by itself.
    """

    by: Literal["shm", "zmq", "zmq tcp", "pyzmq ipc", "pyzmq tcp"]
    folder: str
    frames: int
    whole: bool = False
    small: bool = False
    written: bool = False
    together: int = 1
    per_s: float = 0.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the collector saw: rate from the first to the last result, age of frames, and how many were right.

    `cpu_us`: time on a processor a frame, user and system, of each process; other load on the machine changes it less.
    """

    frames_per_s: float
    right: int
    ages_ms: dict[str, float]
    accounts: dict[str, Snapshot] = {}
    faults: list[str] = []
    cpu_us: dict[str, float] = {}


def patterns(shape: tuple[int, int]) -> NDArray[np.uint16]:
    """The frames (PATTERNS, y, x) u16 that are sent in turn."""
    return np.random.default_rng(1).integers(0, 1 << 16, (PATTERNS, *shape), dtype=np.uint16)


def total(frame: NDArray[np.uint16]) -> int:
    """The job of the worker: the sum of a frame seen as u64, modulo 2^64; touches every byte."""
    return int(frame.view(np.uint64).sum())


def paced(task: Task) -> Iterator[int]:
    """Frame numbers, each when it is due."""
    due = time.perf_counter()
    for number in range(task.frames):
        if task.per_s:
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            due += 1 / task.per_s
        yield number


class Clock:
    """Times of results; the first block is where the time begins, and does not count."""

    def __init__(self, frames: int) -> None:
        self._ages = np.empty(frames)
        self._blocks = self._frames = 0
        self._first_s = self._last_s = 0.0

    def note(self, made_s: float, frames: int) -> None:
        """A block of results came."""
        at_s = now_s()
        self._ages[self._blocks] = at_s - made_s
        self._blocks += 1
        if not self._first_s:
            self._first_s = at_s
        else:
            self._frames += frames
        self._last_s = at_s

    def outcome(self, right: int) -> Outcome:
        """The figures, once all came."""
        ages = self._ages[:self._blocks] * 1e3
        told = {"p50": float(np.percentile(ages, 50)), "p99": float(np.percentile(ages, 99)), "max": float(ages.max())}
        return Outcome(frames_per_s=self._frames / max(self._last_s - self._first_s, 1e-9), right=right,
                       ages_ms={name: round(age, 3) for name, age in told.items()})
