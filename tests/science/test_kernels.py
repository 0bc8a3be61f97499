"""The compiled kernel in the engine: the truths of RAAR that single precision can show, for every kernel of the host.

The right sign of RAAR is seen in the way back from a disturbed truth: the truth itself stays under the wrong one too.
"""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.compiled import CompiledKernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.model import MASKED, exit_waves, far_field
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Slots

SINGLE = np.dtype(np.float32)
SIDE = 32
KERNELS = {"reference": ReferenceKernel, "compiled": lambda: CompiledKernel(SIDE, 2)}


class Scene:
    """49 frames of 32 x 32 with everything known."""

    def __init__(self, seed=4):
        rng = self.rng = np.random.default_rng(seed)
        grid = np.stack(np.divmod(np.arange(49), 7), axis=1) * 5
        self.corners = grid + rng.integers(0, 2, grid.shape)
        self.shape = tuple(int(extent) for extent in self.corners.max(axis=0) + SIDE)
        y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
        self.probe = (20 * np.exp(-(y**2 + x**2) / 60 + 0.03j * (y**2 + x**2))).astype(np.complex64)[None]
        self.truth = ((0.8 + 0.2 * rng.random(self.shape)) * np.exp(0.7j * rng.random(self.shape))).astype(np.complex64)
        self.amplitude = np.abs(far_field(exit_waves(self.probe, self.truth, self.corners)))[:, 0]

    def engine(self, kernel, image=None):
        engine = Engine(Geometry((SIDE, SIDE), self.shape, (1.0, 1.0), (0.0, 0.0), 0),
                        Slots(len(self.corners), 1, (SIDE, SIDE), SINGLE), KERNELS[kernel](), probe=self.probe,
                        image=self.truth if image is None else image,
                        constraints=Constraints(None, float((np.abs(self.probe) ** 2).sum())))
        engine.put(np.arange(len(self.corners)), self.amplitude.astype(np.float32), self.corners,
                   np.ones(len(self.corners), np.float32))
        return engine


@pytest.fixture
def scene():
    return Scene()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rule", [Rule(raar(0.75)), Rule(dm(), DataTerm("gaussian", 0.5)),
                                  Rule(dm(), DataTerm("poisson", 0.5)), Rule(ap())], ids=["raar", "agm", "ipm", "ap"])
def test_a_disturbed_truth_comes_back(scene, kernel, rule):
    noise = scene.rng.standard_normal((*scene.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    engine = scene.engine(kernel, scene.truth + 0.03 * noise)
    before = engine.fourier_error()
    for _ in range(40):
        engine.iterate(rule)
    assert engine.fourier_error() < before / 10


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["dark", "saturated", "one frame", "zero probe", "masked"])
def test_degenerate_input_stays_finite(scene, kernel, kind):
    if kind == "dark":
        scene.amplitude[...] = 0
    elif kind == "saturated":
        scene.amplitude[...] = 65535.0
    elif kind == "one frame":
        scene.corners, scene.amplitude = scene.corners[:1], scene.amplitude[:1]
    elif kind == "masked":
        scene.amplitude[...] = MASKED
    else:
        scene.probe = np.zeros_like(scene.probe)
    engine = scene.engine(kernel, np.ones(scene.shape, np.complex64))
    for step in range(4):
        engine.iterate(raar(0.9), refine_probe=step > 1)
    assert all(np.isfinite(array).all() for array in (engine.image, engine.probe, engine.frames.waves))
    assert np.isfinite(engine.fourier_error())


def test_kernels_end_alike_after_fifty_iterations(scene):
    scene.amplitude = np.sqrt(scene.rng.poisson(scene.amplitude**2))
    start = np.abs(scene.truth) * np.ones(scene.shape, np.complex64)
    engines = [scene.engine(kernel, start) for kernel in KERNELS]
    for engine in engines:
        for step in range(50):
            engine.iterate(raar(0.8), refine_probe=step >= 5)
    errors = [engine.fourier_error() for engine in engines]
    assert errors[1] == pytest.approx(errors[0], rel=0.02)
