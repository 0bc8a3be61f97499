"""ePIE and rPIE: they find the object and the probe, and no batch size makes them diverge."""

from __future__ import annotations

import numpy as np
import pytest

from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.pie import Pie


@pytest.fixture(scope="module")
def scan(simulate_scan):
    return simulate_scan(size=48, side=9, step=4, photons=1e5, seed=5)


def solver(s, probe=None, **options):
    amplitude = np.sqrt(np.fft.ifftshift(s.counts, axes=(1, 2))).astype(np.float32)
    return Pie(amplitude, s.corners.astype(np.int64), s.probe.copy() if probe is None else probe,
               np.ones(s.truth.shape, np.complex64), **options)


def error(s, image):
    return score(*s.box(image, 0)).nrms


@pytest.mark.parametrize("regular", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("batch", [1, 16, 81])
def test_no_batch_size_diverges(scan, regular, batch):
    bent = scan.probe * np.exp(0.3j * np.random.default_rng(0).standard_normal(scan.probe.shape))
    work = solver(scan, bent.astype(np.complex64), regular=regular, batch=batch)
    for sweep in range(15):
        work.iterate(refine_probe=sweep > 1)
    assert error(scan, work.image) < 0.12


def test_the_object_and_a_bent_probe_are_found(scan):
    bent = scan.probe * np.exp(0.3j * np.random.default_rng(0).standard_normal(scan.probe.shape))
    work = solver(scan, bent.astype(np.complex64), regular=0.3, batch=27)
    for sweep in range(30):
        work.iterate(refine_probe=sweep > 1)
    assert error(scan, work.image) < 0.06
    likeness = np.abs(np.vdot(work.probe, scan.probe)) / (np.linalg.norm(work.probe) * np.linalg.norm(scan.probe))
    assert likeness > 0.99


def test_masked_pixels_are_not_looked_at(scan):
    one, other = solver(scan), solver(scan)
    other._amplitude = one._amplitude.copy()
    one._amplitude[:, 3, 4] = -1
    other._amplitude[:, 3, 4] = -7
    for work in (one, other):
        work.iterate()
    assert np.array_equal(one.image, other.image)


def test_the_truth_stays_where_it_is(simulate_scan):
    s = simulate_scan(size=32, side=4, step=4, noise=False)
    work = solver(s)
    work.image = s.truth.copy()
    work.iterate(refine_probe=True)
    np.testing.assert_allclose(work.image, s.truth, atol=1e-4)
    np.testing.assert_allclose(work.probe, s.probe, atol=1e-4 * np.abs(s.probe).max())
