"""A known object comes back from near-field frames, of the engine and of the operator that only knows the geometry."""

import msgspec
import numpy as np
import pytest
from scipy import ndimage

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.model import exit_waves, magnitude
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.propagator import NearField, near_field
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.errors import ParameterError

NEAR = NearField(12.0, 1.0, (1.0, 1.0))
SINGLE = np.dtype(np.float32)


def test_a_known_object_comes_back(scene):
    s = scene(propagator=NEAR, photons=1e6)
    engine = s.engine(s.amplitude())
    for done in range(60):
        engine.iterate(raar(0.75) if done < 55 else ap(), refine_probe=done >= 4)
    assert engine.kernel.name == "reference, near field"
    assert s.error(engine.evidence()) < 0.04
    assert engine.fourier_error() < 0.05


def test_the_truth_stays(scene):
    s = scene(propagator=NEAR, photons=1e6)
    engine = s.engine(s.amplitude(noise=False), image=s.truth)
    for _ in range(5):
        engine.iterate(raar(0.9), refine_probe=True)
    assert engine.fourier_error() < 1e-4


def diffused(rng, size, photons):
    """A beam of soft edges behind a weak diffuser (y, x)."""
    y, x = np.mgrid[:size, :size] - size / 2
    rough = ndimage.gaussian_filter(rng.standard_normal((size, size)), 2, mode="wrap")
    field = np.exp(-((np.hypot(y, x) / (0.3 * size)) ** 6) + 0.8j * rough / rough.std())
    return (field * np.sqrt(photons / (np.abs(field) ** 2).sum())).astype(np.complex64)


@pytest.mark.slow
def test_from_the_geometry_of_a_cone_beam(simulate_scan):
    """Frames as the detector shows them; pixel, distance and start probe follow from focus, sample and detector."""
    s = simulate_scan(size=64, side=9, step=4, photons=1e6)
    focus_m = 1e-3
    scan = msgspec.structs.replace(s.scan, distance_m=0.099, optics=None)
    near = near_field(scan, focus_m)
    span = s.corners.max(axis=0) * near.pixel_m
    scan = msgspec.structs.replace(scan, span_m=(0.0, 0.0, float(span[0]), float(span[1])))
    rng = np.random.default_rng(1)
    probe = diffused(rng, 64, 1e6)
    waves = exit_waves(probe[None], s.truth, s.corners)
    counts = rng.poisson(magnitude(near.forward(waves)) ** 2).astype(np.float32)
    there = type(s)(counts, s.corners, s.truth, probe, msgspec.structs.replace(scan, shape=(64, 64)))
    block = there.block(range(len(counts)))
    block.arrays["position_m"][...] = s.corners * near.pixel_m
    work = Reconstruction(scan, SolveParameters(regime="near", focus_m=focus_m))
    assert work.geometry.pixel_m == near.pixel_m
    work.absorb(block)
    work.begin()
    for done in range(120):
        work.advance(raar(0.9) if done < 60 else raar(0.75))
    arrays = work.arrays()
    assert work.facts(final=True)["kernel"].endswith("near field")
    assert score(*there.box(arrays["object"], work.geometry.margin)).nrms < 0.03


def test_who_takes_the_near_field():
    assert choose("auto", (64, 64), 1, SINGLE, NEAR).propagator is NEAR
    assert choose("reference", (64, 64), 1, SINGLE, NEAR).name == "reference, near field"
    with pytest.raises(ParameterError, match="far field"):
        choose("compiled", (64, 64), 1, SINGLE, NEAR)
