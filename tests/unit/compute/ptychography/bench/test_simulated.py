"""The simulated scan agrees with its own truth."""

import numpy as np
import pytest

from camlink.compute.ptychography.bench.problem import Case
from camlink.compute.ptychography.bench.simulated import PHOTONS, simulated, zone_plate
from camlink.compute.ptychography.model import exit_waves, far_field


def test_counts_are_what_truth_and_beam_give():
    dataset = simulated(Case(9, 64, "reference"))
    corners = np.rint(dataset.corners(0)).astype(int) + dataset.truth_corner
    field = far_field(exit_waves(zone_plate(64)[None], dataset.truth, corners))[:, 0]
    expected = np.abs(np.fft.fftshift(field, axes=(1, 2))) ** 2
    lit = expected > 20
    pull = (dataset.counts - expected)[lit] / np.sqrt(expected[lit])
    assert np.std(pull) == pytest.approx(1, abs=0.05)  # nothing but photon noise
    assert abs(pull.mean()) < 0.05


def test_the_start_probe_is_as_bright_as_the_beam_and_not_the_beam():
    dataset = simulated(Case(4, 64, "reference"))
    beam = zone_plate(64)
    assert (np.abs(dataset.probe) ** 2).sum() == pytest.approx(PHOTONS, rel=1e-5)
    likeness = abs(np.vdot(beam, dataset.probe[0])) / PHOTONS
    assert 0.3 < likeness < 0.99


def test_the_same_seed_gives_the_same_scan():
    one, two, other = (simulated(Case(4, 64, "reference"), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.counts, two.counts)
    assert not np.array_equal(one.truth[:64, :64], other.truth[:64, :64])
