"""Problem: random frames of a scan, on which kernels and engines are measured and checked."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import to_host
from camlink.compute.ptychography.algorithm import Rule, raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.kernels.kernel import Estimate, Kernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Active, Slots

Array = NDArray[Any]
REAL: Final = np.dtype(np.float32)
BLEND: Final = raar(0.75)
RULE: Final = Rule(BLEND)
CHECKED_FRAMES: Final = 8


class Case(NamedTuple):
    """Frames of side x side pixels on a grid of side/16 pixels, and the kernel that is measured."""

    frames: int
    side: int
    kernel: KernelName


class Problem(NamedTuple):
    """Random amplitudes (n, y, x), corners (n, 2), probe (mode, y, x) and object (H, W)."""

    amplitude: Array
    corners: Array
    probe: Array
    image: Array

    @staticmethod
    def of(case: Case, seed: int = 0, modes: int = 1) -> Problem:
        """A raster scan with jitter; every number is random, so that nothing is faster than with real frames."""
        rng = np.random.default_rng(seed)
        columns = round(np.sqrt(case.frames))
        step = case.side // 16
        grid = np.stack(np.divmod(np.arange(case.frames), columns), axis=1) * step
        corners = grid + rng.integers(0, step, grid.shape)
        height, width = corners.max(axis=0) + case.side

        def field(*shape: int) -> Array:
            return np.asarray(rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0])

        amplitude = np.abs(rng.standard_normal((case.frames, case.side, case.side), np.float32))
        return Problem(amplitude, corners, field(modes, case.side, case.side), field(int(height), int(width)))


def engine_of(problem: Problem, kernel: Kernel, slots: Slots | None = None, **refined: Any) -> Engine:
    """An engine that holds all frames of the problem, in `slots` if given; `refined` goes to it as it is."""
    count, side, _ = problem.amplitude.shape
    modes = len(problem.probe)
    geometry = Geometry((side, side), (problem.image.shape[0], problem.image.shape[1]), (1.0, 1.0), (0.0, 0.0), 0)
    power = float((np.abs(problem.probe) ** 2).sum())
    engine = Engine(geometry, slots or Slots(count, modes, (side, side), REAL, kernel.space), kernel,
                    probe=problem.probe, image=problem.image, constraints=Constraints(None, power), **refined)
    for start in range(0, count, 100):
        some = slice(start, min(start + 100, count))
        engine.put(np.arange(some.start, some.stop), problem.amplitude[some], problem.corners[some].astype(float),
                   np.ones(some.stop - some.start, np.float32))
    return engine


def gap(problem: Problem, kernel: Kernel, rule: Rule = RULE) -> float:
    """Largest difference between a step of `kernel` and of the reference, over the largest number, on a few frames.

    The waves begin as random numbers and a pixel is masked.
    """
    few = min(CHECKED_FRAMES, len(problem.amplitude))
    rng = np.random.default_rng(1)
    start = rng.standard_normal((few, *problem.probe.shape, 2), np.float32).view(np.complex64)[..., 0]
    amplitude = problem.amplitude[:few].copy()
    amplitude[0, 1, 2] = -1
    results = []
    for tried in (kernel, ReferenceKernel()):
        take = tried.space.asarray
        waves = take(start.copy())
        active = Active.plain(tried.arrange(take(amplitude)), waves, take(problem.corners[:few]),
                              take(np.ones(few, np.float32)))
        estimate = Estimate.plain(take(problem.probe), take(problem.image))
        sums = tried.step(active, estimate, rule, probe_sum=True)
        results.append([to_host(part) for part in (waves, sums.image, sums.probes)])
    return max(float(np.abs(one - other).max() / np.abs(other).max())
               for one, other in zip(*results, strict=True))
