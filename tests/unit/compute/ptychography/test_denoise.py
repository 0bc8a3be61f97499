from __future__ import annotations

import numpy as np
import pytest

from camlink.compute.ptychography.denoise import TotalVariation, divergence, gradient

RNG = np.random.default_rng(3)


def field(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def variation(image: np.ndarray) -> float:
    """Isotropic total variation: sum of sqrt(|d_y|^2 + |d_x|^2)."""
    return float(np.sqrt((np.abs(gradient(image)) ** 2).sum(axis=0)).sum())


def objective(image: np.ndarray, noisy: np.ndarray, weight: np.ndarray, strength: float) -> float:
    return float((weight * np.abs(image - noisy) ** 2).sum() / 2 + strength * variation(image))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (7, 9)])
def test_divergence_is_minus_the_adjoint_of_the_gradient(shape: tuple[int, int]) -> None:
    image, dual = field(*shape), field(2, *shape)
    assert np.vdot(gradient(image), dual) == pytest.approx(-np.vdot(image, divergence(dual)), rel=1e-12)


def test_a_flat_image_and_no_strength_change_nothing() -> None:
    flat, image = np.full((6, 6), 2 + 1j), field(6, 6)
    np.testing.assert_allclose(TotalVariation(0.7).apply(flat, np.ones((6, 6))), flat, atol=1e-12)
    np.testing.assert_allclose(TotalVariation(0.0).apply(image, np.ones((6, 6))), image, atol=1e-12)


def test_a_step_shrinks_by_strength_over_half_width() -> None:
    """Two plateaus of n pixels a row: each moves by strength / n towards the other (Strong and Chan 2003)."""
    step = np.ones((4, 16), complex)
    step[:, 8:] = 3
    found = TotalVariation(0.8, steps=4000).apply(step, np.ones((4, 16)))
    np.testing.assert_allclose(found[:, :8], 1 + 0.8 / 8, atol=1e-3)
    np.testing.assert_allclose(found[:, 8:], 3 - 0.8 / 8, atol=1e-3)


def test_nothing_nearby_is_better_than_what_it_finds() -> None:
    noisy, weight = field(9, 8), RNG.uniform(0.2, 2.0, (9, 8))
    found = TotalVariation(0.5, steps=3000).apply(noisy, weight)
    best = objective(found, noisy, weight, 0.5)
    assert best < objective(noisy, noisy, weight, 0.5)
    for _ in range(50):
        assert objective(found + 1e-3 * field(9, 8), noisy, weight, 0.5) >= best - 1e-6


def test_a_warm_start_reaches_what_many_steps_reach() -> None:
    noisy, weight = field(12, 12), np.ones((12, 12))
    often = TotalVariation(0.4, steps=4)
    for _ in range(500):
        found = often.apply(noisy, weight)
    far = TotalVariation(0.4, steps=4000).apply(noisy, weight)
    assert objective(found, noisy, weight, 0.4) == pytest.approx(objective(far, noisy, weight, 0.4), rel=1e-2)


def test_pixels_without_weight_are_filled_in_smoothly() -> None:
    image, weight = np.ones((9, 9), complex), np.ones((9, 9))
    image[4, 4], weight[4, 4] = 100, 0
    found = TotalVariation(0.5, steps=3000).apply(image, weight)
    assert abs(found[4, 4] - 1) < 0.05
