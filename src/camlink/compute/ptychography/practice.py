"""Practice: a reconstruction that nobody looks at; no scan then waits for what is compiled or loaded at first use."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import numpy as np
from msgspec.structs import replace

from camlink.block import CountFrames, FrameKind, Header, Scan
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import CENTRE_EVERY, Reconstruction
from camlink.compute.ptychography.schedule import Outlook, Schedule

FRAMES: Final = 8
STEPS: Final = CENTRE_EVERY + 2
"""Enough for the probe, for an iteration that is recorded, for the centring, and for the last projections."""
ENERGY_EV: Final = 800.0
PIXEL_M: Final = 30e-6
DISTANCE_M: Final = 0.1
STEP_M: Final = 50e-9
PHOTONS: Final = 1e3


def practise(parameters: SolveParameters, side: int) -> None:
    """Reconstruct a few frames of side x side (seconds once on a machine, then from the caches of the compilers).

    Raises ParameterError where the kernel does not take such frames.
    """
    chosen = replace(parameters, workers=1, probe_guess="data")
    with closing(Reconstruction(_scan(side), chosen)) as work:
        work.absorb(_block(side))
        work.begin()
        run_through(work)


def run_through(work: Reconstruction) -> None:
    """Take a reconstruction that has begun through every part of its schedule, up to a picture."""
    schedule = Schedule(work.parameters)
    for step in range(STEPS):
        work.advance(schedule.next(work.condition, Outlook(False, step / STEPS, STEPS - step)))
    work.arrays()
    work.facts(final=True)


def _scan(side: int) -> Scan:
    return Scan(id="practice", expected=FRAMES, points=FRAMES, shape=(side, side), energy_eV=ENERGY_EV,
                pixel_m=(PIXEL_M, PIXEL_M), distance_m=DISTANCE_M, span_m=(0.0, 0.0, 0.0, (FRAMES - 1) * STEP_M))


def _block(side: int) -> CountFrames:
    """Noisy frames of a bright disc along a line."""
    f = (np.arange(side) - side // 2) / side
    bright = np.where(np.hypot(f[:, None], f[None, :]) < 0.25, PHOTONS, 0.0)
    rows = np.arange(FRAMES, dtype=np.int64)
    return CountFrames.checked(Header(scan=_scan(side), made_s=0.0), {
        "frames": np.random.default_rng(0).poisson(bright, (FRAMES, side, side)).astype(np.float32), "index": rows,
        "point": rows, "kind": np.full(FRAMES, FrameKind.EXPOSURE, np.uint8), "dwell_s": np.zeros(FRAMES),
        "position_m": np.stack([0.0 * rows, STEP_M * rows], axis=1), "time_s": np.zeros(FRAMES)})
