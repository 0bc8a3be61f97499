"""The metric forgives what ptychography cannot know, and nothing else."""

import numpy as np
import pytest
from scipy import ndimage

from camlink.compute.ptychography.metric import half_bit_crossing, ring_correlation, score


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(4)
    amplitude, phase = (ndimage.gaussian_filter(rng.standard_normal((96, 90)), 2.5, mode="wrap") for _ in range(2))
    return (0.9 + 0.5 * amplitude) * np.exp(5j * phase)


def test_itself_has_no_error(truth):
    result = score(truth, truth)
    assert result.nrms < 1e-3
    assert result.half_bit == 1.0


def test_shift_ramp_scale_and_phase_are_free(truth):
    ky, kx = (np.fft.fftfreq(side) for side in truth.shape)
    y, x = np.mgrid[:truth.shape[0], :truth.shape[1]]
    moved = np.fft.ifft2(np.fft.fft2(truth) * np.exp(-2j * np.pi * (1.3 * ky[:, None] - 0.7 * kx[None, :])))
    other = 0.3j * moved * np.exp(2j * np.pi * (0.4 * y / truth.shape[0] + 1.2 * x / truth.shape[1]))
    assert score(other, truth).nrms < 0.02


def test_noise_is_measured(truth):
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)
    level = 0.1 * np.sqrt((np.abs(truth) ** 2).mean() / 2)
    assert score(truth + level * noise, truth).nrms == pytest.approx(0.1, rel=0.1)


def test_another_object_is_wrong(truth):
    assert score(np.conj(truth[::-1]), truth).nrms > 0.3


def test_half_bit_crossing_finds_the_cut(truth):
    rng = np.random.default_rng(7)
    one = rng.standard_normal((128, 128))
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij"))
    spectrum = np.fft.fft2(one)
    other = np.fft.ifft2(np.where(k < 0.25, spectrum, np.fft.fft2(rng.standard_normal((128, 128)))))
    assert half_bit_crossing(one, other) == pytest.approx(0.5, abs=0.08)


def test_ring_correlation_of_itself_is_one(truth):
    correlation, samples = ring_correlation(truth, truth)
    np.testing.assert_allclose(correlation, 1, rtol=1e-9)
    assert samples[0] >= 1
