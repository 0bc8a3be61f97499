from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from camlink.compute.ptychography.prox import DataTerm

COUNTS = (0.0, 0.3, 1.0, 25.0, 4000.0)
WAVES = (0.0, 0.1, 1.0, 7.0, 90.0)


def cost(term: DataTerm, u: float, wave: float, counts: float) -> float:
    data = (u - np.sqrt(counts)) ** 2 / 2 if term.likeness == "gaussian" else (
        u * u - counts * (np.log(u * u) if counts else 0.0)) / 2
    return float(data + term.stiffness / 2 * (u - wave) ** 2)


@pytest.mark.parametrize("likeness", ["gaussian", "poisson"])
@pytest.mark.parametrize("stiffness", [0.05, 0.25, 3.0])
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("wave", WAVES)
def test_the_new_magnitude_is_the_minimiser(likeness: str, stiffness: float, counts: float, wave: float) -> None:
    term = DataTerm(likeness, stiffness)  # type: ignore[arg-type]
    found = float(term.magnitude(np.array(wave), np.array(np.sqrt(counts))))
    best = minimize_scalar(lambda u: cost(term, u, wave, counts), bounds=(1e-9, 2 * max(np.sqrt(counts), wave) + 1),
                           method="bounded", options={"xatol": 1e-10})
    assert found == pytest.approx(best.x, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("likeness", ["gaussian", "poisson"])
def test_without_stiffness_it_is_the_projection(likeness: str) -> None:
    amplitude, wave = np.array([0.0, 2.0, 5.0]), np.array([1.0, 0.0, 9.0])
    np.testing.assert_allclose(DataTerm(likeness, 0.0).magnitude(wave, amplitude), amplitude)  # type: ignore[arg-type]
    np.testing.assert_allclose(DataTerm("project").magnitude(wave, amplitude), amplitude)


def test_the_factor_keeps_the_phase_and_leaves_masked_pixels_alone() -> None:
    wave = np.abs(np.random.default_rng(0).standard_normal((2, 5, 5)))
    amplitude = np.full((2, 5, 5), 3.0)
    amplitude[0, 1, 1] = -1
    wave[1, 2, 2] = 0
    factor = DataTerm("poisson", 0.5).factor(wave, amplitude)
    assert factor[0, 1, 1] == 1
    assert np.isfinite(factor).all()
    assert (factor > 0).all()
