"""ADMM against its papers: the forms agree, the difference map is a member, and few photons are used better."""

from __future__ import annotations

import numpy as np
import pytest

from camlink.beamline.twin.phantom import phantom
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.denoise import TotalVariation
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.model import exit_waves, far_field, scatter
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.propagator import FAR_FIELD
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Slots

DAMPING = 1e-3


@pytest.fixture(autouse=True)
def damping(monkeypatch):
    monkeypatch.setattr("camlink.compute.ptychography.engine.IMAGE_DAMPING", DAMPING)


def problem(counts, corners, double=False):
    amplitude = np.sqrt(np.fft.ifftshift(counts, axes=(1, 2)))
    return amplitude.astype(np.float64 if double else np.float32), corners.astype(np.int64)


def engine_of(s, amplitude, corners, strength=0.0):
    """An engine in the precision of the amplitudes that starts from an even object."""
    real, count, size = amplitude.dtype, len(amplitude), amplitude.shape[-1]
    number = np.result_type(real, np.complex64)
    engine = Engine(Geometry((size, size), s.truth.shape, (1.0, 1.0), (0.0, 0.0), 0),
                    Slots(count, 1, (size, size), real), ReferenceKernel(), probe=s.probe[None].astype(number),
                    image=np.ones(s.truth.shape, number), constraints=Constraints(None, 0.0),
                    object_steps=[TotalVariation(strength)] if strength else [])
    engine.put(np.arange(count), amplitude, corners.astype(float), np.ones(count, real))
    return engine


def fit(waves, probe, corners, image):
    weight = overlap.object_weight(overlap.comb(corners, np.ones(len(corners)), image.shape), np.abs(probe) ** 2)
    return overlap.divide(scatter(np.conj(probe) * waves, corners, image.shape), weight, image, DAMPING), weight


@pytest.mark.parametrize("strength", [0.0, 3.0])
@pytest.mark.parametrize("likeness", ["gaussian", "poisson"])
def test_one_wave_a_frame_says_the_same_as_wave_and_multiplier(simulate_scan, likeness, strength):
    """Chang et al., arXiv 1811.02081: wave u, multiplier Lambda/beta_1, object by weighted total variation."""
    s = simulate_scan(size=24, side=4, step=4, photons=2e3)
    amplitude, corners = problem(s.counts, s.corners, double=True)
    probe, image = s.probe.astype(complex), np.ones(s.truth.shape, complex)
    term, smooth = DataTerm(likeness, 0.5), TotalVariation(strength)
    engine = engine_of(s, amplitude, corners, strength)
    wave = far_field(exit_waves(probe[None], image, corners))[:, 0]
    multiplier = np.zeros_like(wave)  # Lambda / beta_1
    for _ in range(15):
        engine.iterate(Rule(dm(), term))
        model = far_field(exit_waves(probe[None], image, corners))[:, 0]
        wave = (model - multiplier) * term.factor(np.abs(model - multiplier), amplitude)
        image, weight = fit(FAR_FIELD.adjoint(wave + multiplier), probe, corners, image)
        if strength:
            image = smooth.apply(image, term.stiffness * weight)
        multiplier = multiplier + wave - far_field(exit_waves(probe[None], image, corners))[:, 0]
        np.testing.assert_allclose(engine.image, image, atol=1e-9)


def test_with_the_projection_it_is_the_difference_map(simulate_scan):
    s = simulate_scan(size=24, side=4, step=4, photons=2e3)
    amplitude, corners = problem(s.counts, s.corners, double=True)
    engines = [engine_of(s, amplitude, corners) for _ in range(2)]
    for _ in range(5):
        engines[0].iterate(Rule(dm(), DataTerm("gaussian", 1e-12)))
        engines[1].iterate(dm())
    np.testing.assert_allclose(engines[0].image, engines[1].image, atol=1e-9)


def test_poisson_and_total_variation_use_few_photons_better(simulate_scan, monkeypatch):
    """At most about 50 photons in a pixel: smaller error than RAAR with its polish, after as many iterations."""
    monkeypatch.setitem(simulate_scan.__globals__, "smooth_object",
                        lambda shape, _: phantom("gold", shape, 5).astype(np.complex64))
    s = simulate_scan(size=48, side=8, step=4, photons=4e3, seed=5)
    assert 30 < s.counts.max() < 70
    amplitude, corners = problem(s.counts, s.corners)
    with_tv, plain = engine_of(s, amplitude, corners, 3.0), engine_of(s, amplitude, corners)
    for done in range(80):
        stiffness = 2.0 if done < 20 else 8.0  # soft first, to find the way; stiff then, to settle
        with_tv.iterate(Rule(dm(), DataTerm("poisson", stiffness)))
        plain.iterate(raar(0.75) if done < 60 else ap())
    assert score(*s.box(with_tv.image, 0)).nrms < 0.9 * score(*s.box(plain.image, 0)).nrms
