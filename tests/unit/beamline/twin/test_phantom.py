import numpy as np
import pytest

from camlink.beamline.twin.phantom import LARGEST_PHASE_RAD, LOWEST_AMPLITUDE, PHANTOMS, Canvas, band_limited, phantom
from camlink.errors import UnknownName

SHAPE = (150, 170)


@pytest.mark.parametrize("name", sorted(PHANTOMS))
def test_transmission_stays_within_its_bounds(name):
    sample = phantom(name, SHAPE, 0)
    assert sample.shape == SHAPE
    assert sample.dtype == np.complex64
    assert np.abs(sample).min() >= LOWEST_AMPLITUDE - 1e-6
    assert np.abs(sample).max() <= 1 + 1e-6
    assert np.abs(np.angle(sample)).max() <= LARGEST_PHASE_RAD + 1e-6


@pytest.mark.parametrize("name", sorted(set(PHANTOMS) - {"empty"}))
def test_every_phantom_has_structure_and_follows_its_seed(name):
    first, again, other = phantom(name, SHAPE, 1), phantom(name, SHAPE, 1), phantom(name, SHAPE, 2)
    assert np.std(np.angle(first)) > 0.05
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_empty_is_empty():
    np.testing.assert_array_equal(phantom("empty", SHAPE, 0), np.ones(SHAPE, np.complex64))


def test_mixed_has_power_at_every_scale():
    sample = phantom("mixed", (256, 256), 0)
    power = np.abs(np.fft.fft2(sample - sample.mean())) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = [power[(radius >= low) & (radius < 2 * low)].mean() for low in (1 / 128, 1 / 32, 1 / 8, 1 / 4)]
    assert rings == sorted(rings, reverse=True)
    assert rings[-1] > 1e-6 * rings[0]


def test_unknown_phantom_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'star'"):
        phantom("starr", SHAPE, 0)


def test_disc_has_its_area_and_is_clipped_at_the_border():
    canvas = Canvas((60, 60))
    canvas.disc(30.3, 29.6, 10.0, 1.0, 0.0)
    assert canvas.absorption.sum() == pytest.approx(np.pi * 100, rel=0.01)
    canvas.disc(0, 0, 5.0, 0.0, 1.0)
    assert canvas.phase_rad[:6, :6].sum() == pytest.approx(canvas.phase_rad.sum())


def test_ball_has_its_volume():
    canvas = Canvas((60, 60))
    canvas.disc(30.0, 30.0, 15.0, 1.0, 0.0, ball=True)
    assert canvas.absorption.sum() == pytest.approx(2 / 3 * np.pi * 15**2, rel=0.01)


def test_noise_is_band_limited():
    noise = band_limited((128, 96), 0.05, np.random.default_rng(0))
    power = np.abs(np.fft.fft2(noise)) ** 2
    high = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(96)[None, :]) > 0.15
    assert noise.std() == pytest.approx(1, rel=1e-5)
    assert power[high].sum() < 1e-6 * power.sum()
