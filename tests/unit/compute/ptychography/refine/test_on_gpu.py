"""Refinements and object steps on a GPU do what they do on the host, also between recorded iterations."""

import importlib

import numpy as np
import pytest

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.bench.problem import REAL, Case, Problem
from camlink.compute.ptychography.denoise import TotalVariation
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.probe import Constraints, window
from camlink.compute.ptychography.propagator import FAR_FIELD, NearField
from camlink.compute.ptychography.refine.background import Background
from camlink.compute.ptychography.refine.edges import Edges
from camlink.compute.ptychography.refine.gains import Gains
from camlink.compute.ptychography.refine.limits import Limits
from camlink.compute.ptychography.refine.modes import Modes, first_modes
from camlink.compute.ptychography.refine.positions import Positions
from camlink.compute.ptychography.slots import Slots

SIDE = 64
TROUBLE = gpu_trouble()
gpu = pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU to refine on: {TROUBLE}")
SOON = {"every": 2, "start": 2}


def engine_of(kernel, modes=1, fraction=0.0, **options):
    """An engine of 40 frames; from `fraction` on they lie between pixels."""
    problem = Problem.of(Case(40, SIDE, "cuda"))
    count, shape = len(problem.amplitude), problem.image.shape
    power = float((np.abs(problem.probe) ** 2).sum())
    engine = Engine(Geometry((SIDE, SIDE), shape, (1.0, 1.0), (0.0, 0.0), 0),
                    Slots(count, modes, (SIDE, SIDE), REAL, kernel.space), kernel,
                    probe=first_modes(problem.probe, modes), image=problem.image,
                    constraints=Constraints(None, power, window((SIDE, SIDE), 1.0)), fractions=4, **options)
    corners = np.clip(problem.corners + fraction, 0, np.subtract(shape, SIDE))
    engine.put(np.arange(count), problem.amplitude, corners, np.ones(count, np.float32))
    return engine


def near(one, other, tolerance=2e-3):
    """All but a few numbers are: where hardly any light falls, rounding decides about a phase."""
    gap = np.quantile(np.abs(to_host(one) - to_host(other)), 0.99) / np.abs(to_host(other)).max()
    assert gap < tolerance, gap


@gpu
@pytest.mark.parametrize("fast", [True, False], ids=["cuda", "cupy"])
@pytest.mark.parametrize(("modes", "refinements", "steps", "iterations"), [
    (1, [Background(**SOON)], list, 8), (1, [Gains(**SOON)], list, 8), (1, [Positions(**SOON)], list, 8),
    (2, [Modes(**SOON)], list, 8), (1, [], lambda: [Edges()], 8),
    (1, [], lambda: [Limits("phase")], 4),  # with random frames rounding grows fourfold an iteration, on the host alone
    (1, [], lambda: [Limits("real", 0.1, 2.0)], 8), (1, [], lambda: [TotalVariation(3.0)], 8),
    (2, [Modes(**SOON), Background(**SOON), Gains(**SOON), Positions(**SOON)], lambda: [Edges(), Limits(most=2.0)], 8)])
def test_a_gpu_refines_as_the_host_does(fast, modes, refinements, steps, iterations):
    kernel = (choose("cuda", (SIDE, SIDE), modes, REAL) if fast
              else ReferenceKernel(64, importlib.import_module("cupy")))
    here = engine_of(ReferenceKernel(), modes, 0.3, refinements=refinements, object_steps=steps())
    there = engine_of(kernel, modes, 0.3, refinements=refinements, object_steps=steps())
    for done in range(iterations):
        for engine in (here, there):
            engine.iterate(raar(0.75), refine_probe=done > 2)
    near(there.image, here.image)
    near((abs(there.probe) ** 2).sum(axis=0), (abs(here.probe) ** 2).sum(axis=0))
    near(there.frames.gains, here.frames.gains)
    np.testing.assert_allclose(there.slots.corners, here.slots.corners, atol=0.02)
    assert there.fourier_error() == pytest.approx(here.fourier_error(), rel=1e-2)


@gpu
def test_the_near_field_on_a_gpu():
    near_field = NearField(4.0, 1.0, (1.0, 1.0))
    engines = [engine_of(ReferenceKernel(64, space, near_field)) for space in (np, importlib.import_module("cupy"))]
    for engine in engines:
        for _ in range(3):
            engine.iterate(raar(0.75), refine_probe=True)
    near(engines[1].image, engines[0].image)
    assert engines[1].kernel.propagator is not FAR_FIELD


@gpu
def test_frames_move_on_a_gpu_as_on_the_host():
    engines = [engine_of(ReferenceKernel()), engine_of(choose("cuda", (SIDE, SIDE), 1, REAL))]
    for engine in engines:
        for done in range(6):
            engine.iterate(raar(0.75))
            if done == 3:
                engine.move(np.arange(5), engine.slots.corners[:5] + 0.26)
    near(engines[1].image, engines[0].image)
