"""ADMM against its papers: the forms agree, the difference map is a member, and few photons are used better."""

from __future__ import annotations

import numpy as np
import pytest

from camlink.beamline.twin.phantom import phantom
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.admm import DAMPING, Admm
from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.kernels.kernel import Estimate
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.model import exit_waves, far_field, near_sample, scatter
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Active


def problem(counts, corners, double=False):
    amplitude = np.sqrt(np.fft.ifftshift(counts, axes=(1, 2)))
    return amplitude.astype(np.float64 if double else np.float32), corners.astype(np.int64)


def fit(waves, probe, corners, image):
    weight = overlap.object_weight(overlap.comb(corners, np.ones(len(corners)), image.shape), np.abs(probe) ** 2)
    return overlap.divide(scatter(np.conj(probe) * waves, corners, image.shape), weight, image, DAMPING)


@pytest.mark.parametrize("likeness", ["gaussian", "poisson"])
def test_one_wave_a_frame_says_the_same_as_wave_and_multiplier(simulate_scan, likeness):
    s = simulate_scan(size=24, side=4, step=4, photons=2e3)
    amplitude, corners = problem(s.counts, s.corners, double=True)
    probe, image = s.probe.astype(complex), np.ones(s.truth.shape, complex)
    term = DataTerm(likeness, 0.5)
    one = Admm(amplitude, corners, probe, image, term=term)
    wave = far_field(exit_waves(probe[None], image, corners))[:, 0]
    multiplier = np.zeros_like(wave)  # Lambda / beta_1
    for _ in range(15):
        one.iterate()
        model = far_field(exit_waves(probe[None], image, corners))[:, 0]
        wave = term.draw(model - multiplier, amplitude)
        image = fit(near_sample(wave + multiplier), probe, corners, image)
        multiplier = multiplier + wave - far_field(exit_waves(probe[None], image, corners))[:, 0]
        np.testing.assert_allclose(one.image, image, atol=1e-11)


def test_with_the_projection_it_is_the_difference_map(simulate_scan):
    s = simulate_scan(size=24, side=4, step=4, photons=2e3)
    amplitude, corners = problem(s.counts, s.corners, double=True)
    probe, image = s.probe.astype(complex), np.ones(s.truth.shape, complex)
    one = Admm(amplitude, corners, probe, image, term=DataTerm("project"))
    waves, kernel = exit_waves(probe[None], image, corners), ReferenceKernel()
    for _ in range(5):
        one.iterate()
        kernel.step(Active.plain(amplitude, waves, corners, np.ones(len(corners))), Estimate.plain(probe[None], image),
                    Rule(dm()), probe_sum=False)
        image = fit(waves[:, 0], probe, corners, image)
        np.testing.assert_allclose(one.image, image, atol=1e-10)


def by_raar(amplitude, corners, probe, shape, iterations):
    image, waves, kernel = np.ones(shape, np.complex64), None, ReferenceKernel()
    waves = exit_waves(probe[None], image, corners)
    for done in range(iterations):
        step = raar(0.75) if done < iterations - 20 else ap()
        kernel.step(Active.plain(amplitude, waves, corners, np.ones(len(corners), np.float32)),
                    Estimate.plain(probe[None], image), Rule(step), probe_sum=False)
        image = fit(waves[:, 0], probe, corners, image)
    return image


def test_poisson_and_total_variation_use_few_photons_better(simulate_scan, monkeypatch):
    """At most about 50 photons in a pixel: smaller error than RAAR with its polish, after as many iterations."""
    monkeypatch.setitem(simulate_scan.__globals__, "smooth_object",
                        lambda shape, _: phantom("gold", shape, 5).astype(np.complex64))
    s = simulate_scan(size=48, side=8, step=4, photons=4e3, seed=5)
    assert 30 < s.counts.max() < 70
    amplitude, corners = problem(s.counts, s.corners)
    solver = Admm(amplitude, corners, s.probe.copy(), np.ones(s.truth.shape, np.complex64),
                  term=DataTerm("poisson", 2.0), strength=3.0)
    for done in range(80):
        if done == 20:
            solver.term = DataTerm("poisson", 8.0)  # soft first, to find the way; stiff then, to settle
        solver.iterate()
    with_admm = score(*s.box(solver.image, 0)).nrms
    with_raar = score(*s.box(by_raar(amplitude, corners, s.probe, s.truth.shape, 80), 0)).nrms
    assert with_admm < 0.9 * with_raar
