"""Which way up the detector is: of its eight orientations one explains the data and gives the sample.

Intensity turned by half a turn is that of the conjugate waves, which the data alone cannot tell from the right ones:
the first guess of the probe decides, whose defocus comes from the optics.
"""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import Rule, ap, raar
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction

MARGIN = 8


def turned(counts, quarter, mirrored):
    """Frames (n, y, x) with zero frequency in the centre, turned and mirrored about it."""
    shifted = np.fft.ifftshift(counts, axes=(1, 2))
    frequency = -np.arange(counts.shape[1])  # index of minus the frequency
    for _ in range(quarter):
        shifted = shifted.swapaxes(1, 2)[:, frequency]
    return np.fft.fftshift(shifted[:, :, frequency] if mirrored else shifted, axes=(1, 2))


@pytest.fixture(scope="module")
def found(simulate_scan):
    """(Fourier error, error against the truth) for every orientation (quarter turns, mirrored)."""
    scan = simulate_scan(size=64, side=6, step=5, photons=1e6)
    results = {}
    for quarter in range(4):
        for mirrored in (False, True):
            work = Reconstruction(scan.scan, SolveParameters(kernel="reference", margin=MARGIN))
            work.absorb(scan.block(range(len(scan.counts)), counts=turned(scan.counts, quarter, mirrored)))
            work.begin()
            for step in range(25):
                work.advance(Rule(raar(0.75) if step < 22 else ap()))
            error = score(*scan.box(work.arrays()["object"], MARGIN)).nrms
            results[quarter, mirrored] = work.facts(final=True)["fourier_error"], error
    return results


@pytest.mark.slow
def test_one_orientation_of_eight_explains_the_data_and_gives_the_sample(found):
    fourier, error = found[0, False]
    others = [figures for way, figures in found.items() if way != (0, False)]
    assert len(others) == 7
    assert error < 0.05
    assert min(one for one, _ in others) > 2 * fourier
    assert min(other for _, other in others) > 4 * error


def test_turning_four_times_and_mirroring_twice_is_nothing():
    counts = np.random.default_rng(0).random((2, 6, 6))
    assert np.array_equal(turned(counts, 4, False), counts)
    assert np.array_equal(turned(turned(counts, 0, True), 0, True), counts)
