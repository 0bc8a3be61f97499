from __future__ import annotations

import math

import numpy as np
import pytest

from camlink.beamline.forecast.sampling import (
    area_overlap,
    detail_photons,
    dose_half_period_m,
    fluence_per_m2,
    linear_overlap,
)
from camlink.errors import ParameterError


def test_overlap_at_its_ends():
    assert linear_overlap(1e-7, 1e-6) == pytest.approx(0.9)
    assert linear_overlap(2e-6, 1e-6) == area_overlap(1e-6, 1e-6) == area_overlap(3e-6, 1e-6) == 0
    assert area_overlap(1e-12, 1e-6) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_area_overlap_is_the_lens_of_two_discs(part):
    y, x = np.mgrid[-1:1:1001j, -1:2:1501j]
    one, other = np.hypot(y, x) < 1, np.hypot(y, x - 2 * part) < 1
    assert area_overlap(part, 1.0) == pytest.approx((one & other).sum() / one.sum(), abs=2e-3)


def test_dose_limit_by_hand():
    assert detail_photons(0.5) == pytest.approx(25)
    fluence = fluence_per_m2(1e6, 1e-7)
    assert fluence == pytest.approx(1e20)
    side = dose_half_period_m(fluence, 0.5)
    assert side == pytest.approx(0.5e-9)
    assert side**2 * fluence == pytest.approx(25)  # just the photons that the detail needs
    assert dose_half_period_m(4 * fluence, 0.5) == pytest.approx(side / 2)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_cannot_be_is_refused(value):
    with pytest.raises(ParameterError, match="positive"):
        linear_overlap(value, 1e-6)
    with pytest.raises(ParameterError, match="positive"):
        detail_photons(value)
