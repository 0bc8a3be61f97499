"""Pace: what an iteration of a scan costs on this machine, measured with the engine on a few random frames."""

from __future__ import annotations

from contextlib import closing
from statistics import median
from time import perf_counter
from typing import Final

import msgspec
import numpy as np

from camlink.block import CountFrames, FrameKind, Header, Scan
from camlink.compute.arrays import settle
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.schedule import Outlook, Schedule

FEW_FRAMES: Final = 32
MORE_FRAMES: Final = 96
TIMED: Final = 5
MEAN_COUNTS: Final = 50.0


def measure_step_s(scan: Scan, solve: SolveParameters) -> float:
    """Seconds that an iteration of the whole scan takes while frames arrive, by the schedule of the solver.

    Two small numbers of frames, spread over the whole object, give the part of the frames and that of the object grid;
    the sum is carried on to `scan.expected` frames. Raises FormatError for a scan without geometry.
    """
    few, more = min(FEW_FRAMES, scan.expected), min(MORE_FRAMES, scan.expected)
    less_s = _step_s(scan, few, solve)
    if more == few:
        return less_s
    more_s = _step_s(scan, more, solve)
    frame_s = max((more_s - less_s) / (more - few), 0.25 * more_s / more)
    return more_s + frame_s * (scan.expected - more)


def _step_s(scan: Scan, count: int, solve: SolveParameters) -> float:
    spent_s, schedule = [], Schedule(solve)
    with closing(Reconstruction(msgspec.structs.replace(scan, expected=count), solve)) as work:
        work.absorb(_random_block(scan, count))
        work.begin()
        for _ in range(TIMED + 1):  # the first one compiles
            started_s = perf_counter()
            work.advance(schedule.next(work.condition, Outlook(True, 0.0, TIMED)))
            settle()
            spent_s.append(perf_counter() - started_s)
    return median(spent_s[1:])


def _random_block(scan: Scan, count: int) -> CountFrames:
    rng = np.random.default_rng(count)
    y0, x0, y1, x1 = scan.span_m
    rows = np.arange(count, dtype=np.int64)
    frames = rng.poisson(MEAN_COUNTS, (count, *scan.shape)).astype(np.float32)
    probe = np.exp(2j * np.pi * rng.random((1, *scan.shape))).astype(np.complex64)
    return CountFrames.checked(Header(scan=scan, made_s=0.0), {
        "frames": frames, "index": rows, "point": rows, "kind": np.full(count, FrameKind.EXPOSURE, np.uint8),
        "dwell_s": np.ones(count), "position_m": rng.uniform((y0, x0), (y1, x1), (count, 2)), "time_s": np.zeros(count),
        "probe": probe})
