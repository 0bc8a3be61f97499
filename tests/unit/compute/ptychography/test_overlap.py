"""Denominators from the comb against frame by frame sums."""

import numpy as np
import pytest

from camlink.compute.ptychography import overlap


@pytest.fixture
def case():
    rng = np.random.default_rng(2)
    return rng.integers(0, 20, (9, 2)), rng.random(9), rng.random((12, 10)), rng.random((31, 29))


def test_object_weight_is_the_scattered_intensity(case):
    corners, weights, intensity, image = case
    expected = np.zeros_like(image)
    for (y, x), weight in zip(corners, weights, strict=True):
        expected[y:y + 12, x:x + 10] += weight * intensity
    np.testing.assert_allclose(overlap.object_weight(overlap.comb(corners, weights, image.shape), intensity), expected,
                               atol=1e-12)


def test_probe_weight_is_the_gathered_intensity(case):
    corners, weights, intensity, image = case
    expected = sum(w * image[y:y + 12, x:x + 10] for (y, x), w in zip(corners, weights, strict=True))
    got = overlap.probe_weight(overlap.comb(corners, weights, image.shape), image, intensity.shape)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_repeated_positions_add():
    assert overlap.comb(np.array([[1, 2], [1, 2]]), np.array([0.5, 0.25]), (3, 4))[1, 2] == 0.75


def test_division_keeps_what_is_unknown():
    previous = np.full(3, 7.0 + 0j)
    got = overlap.divide(np.array([4.0, 0, 1], complex), np.array([2.0, 0, 1]), previous, 0.0)
    np.testing.assert_array_equal(got, [2, 7, 1])
    np.testing.assert_array_equal(overlap.divide(np.zeros(3, complex), np.zeros(3), previous, 0.1), previous)


def test_damping_pulls_weak_places_to_the_previous_value():
    got = overlap.divide(np.array([10.0, 0.1]), np.array([1.0, 0.01]), np.array([1.0, 1.0]), 0.01)
    np.testing.assert_allclose(got, [(10 + 0.01) / 1.01, (0.1 + 0.01) / 0.02])
