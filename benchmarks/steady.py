"""Operators of the soak: a camera with a pace, and a solver and a writer that are their own checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from camlink.block import CountFrames, FrameKind, Header, RawFrames, Result
from camlink.clock import now_s
from camlink.testing.toys import toy_scan
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about

SIDE_PX = 64


class Pace(Parameters, frozen=True):
    """How many frames, how many of them in a block, how fast."""

    frames: Annotated[int, about("how many", ge=1)] = 1000
    together: Annotated[int, about("frames in a block", ge=1)] = 16
    rate_hz: Annotated[float, about("frames a second; 0 = as fast as they are taken", unit="Hz", ge=0)] = 0.0
    seconds: Annotated[float, about("end after that; 0 = never", unit="s", ge=0)] = 0.0


@operator("steady.camera", kind="source")
def camera(*, parameters: Pace, context: Context) -> Iterator[RawFrames]:
    """Frames that hold their index in every pixel, at a pace that a late frame does not change."""
    scan = toy_scan(parameters.frames, SIDE_PX)
    context.tell(frames_expected=0 if parameters.seconds else parameters.frames, frames_captured=0)
    begun_s = time.monotonic()
    for first in range(0, parameters.frames, parameters.together):
        index = np.arange(first, min(first + parameters.together, parameters.frames))
        n = len(index)
        if parameters.rate_hz:
            time.sleep(max(begun_s + (first + n) / parameters.rate_hz - time.monotonic(), 0.0))
        if context.stopping() or 0 < parameters.seconds < time.monotonic() - begun_s:
            return
        position = np.zeros((n, 2))
        yield RawFrames(Header(scan=scan, made_s=now_s()), {
            "frames": np.broadcast_to((index & 0xFFFF).astype(np.uint16)[:, None, None], (n, SIDE_PX, SIDE_PX)).copy(),
            "index": index, "point": index, "kind": np.full(n, FrameKind.EXPOSURE, np.uint8), "dwell_s": np.ones(n),
            "position_m": position, "time_s": np.full(n, now_s())})
        context.tell(frames_captured=int(index[-1]) + 1)


@operator("steady.count", kind="transform")
def count(frames: RawFrames) -> CountFrames:
    """Samples as float32."""
    return CountFrames(frames.header, {**frames.arrays, "frames": frames.frames.astype(np.float32)})


class _Book:
    """What came of each frame, by index, in a file that outlives a killed process; written twice it is the same."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._file = os.open(context.folder / f"{context.name}.book", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.taken = 0

    def write(self, block: CountFrames) -> None:
        """The mean of each frame plus one; 0 is where none came."""
        means = (block.frames.mean((1, 2)) + 1).astype(np.float32)
        os.pwrite(self._file, means.tobytes(), 4 * int(block.index[0]))  # the frames of a block follow each other
        self.taken += block.count
        self.context.tell(taken=self.taken)

    def needs_again(self, _: Any) -> bool:
        """The book holds everything."""
        return False


@operator("steady.solve", kind="solver")
class Solve(_Book):
    """Gives a version now and then."""

    def __init__(self, *, context: Context) -> None:
        super().__init__(context)
        self._told_s = 0.0

    def __call__(self, frames: CountFrames) -> Result | None:
        """Take a block; a version every quarter of a second."""
        self.write(frames)
        if time.monotonic() - self._told_s < 0.25:
            return None
        self._told_s = time.monotonic()
        return Result(Header(scan=frames.scan, made_s=now_s(), facts={"taken": self.taken}),
                      {"object": frames.frames[-1].astype(np.complex64)})


@operator("steady.keep", kind="sink")
class Keep(_Book):
    """Writes what came of each frame."""

    def __init__(self, *, context: Context) -> None:
        super().__init__(context)

    def __call__(self, frames: CountFrames) -> None:
        """Take a block."""
        self.write(frames)
