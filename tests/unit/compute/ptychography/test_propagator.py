"""Propagators are unitary, their inverse is their adjoint, and the near field spreads a beam as it should."""

import numpy as np
import pytest

from camlink.block import Scan
from camlink.compute.ptychography.propagator import FAR_FIELD, NearField, cone, near_field
from camlink.errors import FormatError

rng = np.random.default_rng(6)
NEAR = NearField(2e-3, 1e-9, (1e-6, 1.5e-6))
SCAN = Scan(id="s", expected=1, shape=(64, 64), pixel_m=(3e-5, 3e-5), distance_m=0.099, energy_eV=800.0,
            span_m=(0, 0, 0, 0))


def random(*shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("propagator", [FAR_FIELD, NEAR], ids=lambda one: one.name)
def test_adjoint_and_unitary(propagator):
    one, other = random(3, 2, 16, 18), random(3, 2, 16, 18)
    left, right = np.vdot(propagator.forward(one), other), np.vdot(one, propagator.adjoint(other))
    assert abs(left - right) < 1e-12 * np.linalg.norm(one) * np.linalg.norm(other)
    assert np.linalg.norm(propagator.forward(one)) == pytest.approx(np.linalg.norm(one), rel=1e-12)
    np.testing.assert_allclose(propagator.adjoint(propagator.forward(one)), one, atol=1e-12)


def test_single_precision_stays():
    assert NEAR.forward(random(1, 8, 8).astype(np.complex64)).dtype == np.complex64


def test_a_gaussian_beam_spreads_and_curves():
    """Waist w0: after z its width is w0 sqrt(1 + (z/z_R)^2), and the phase grows outwards for waves exp(+ikz)."""
    pixel, wavelength, waist = 1e-6, 1e-9, 6e-6
    rayleigh = np.pi * waist**2 / wavelength
    x = (np.arange(128) - 64) * pixel
    field = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / waist**2).astype(complex)
    after = NearField(2 * rayleigh, wavelength, (pixel, pixel)).forward(field)
    light = np.abs(after) ** 2
    width = 2 * np.sqrt((light * x[:, None] ** 2).sum() / light.sum())
    assert width == pytest.approx(waist * np.sqrt(5), rel=1e-3)
    phase = np.unwrap(np.angle(after[64, 54:75]))
    assert phase[0] > phase[10]
    radius = 2 * rayleigh * (1 + 0.25)
    assert np.polyfit(x[54:75], phase, 2)[0] == pytest.approx(np.pi / (wavelength * radius), rel=1e-2)


def test_a_cone_beam_is_a_parallel_one_over_the_effective_distance():
    assert cone(0.01, 0.99) == (pytest.approx(0.0099), pytest.approx(100))
    assert cone(0.0, 0.3) == (0.3, 1.0)
    near = near_field(SCAN, 1e-3)
    assert near.pixel_m == pytest.approx((3e-7, 3e-7))
    assert near.distance_m == pytest.approx(9.9e-4)


def test_what_is_no_near_field_is_refused():
    with pytest.raises(FormatError, match="choose regime 'far'"):
        near_field(SCAN, 1e-5)
