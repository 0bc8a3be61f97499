"""The passes of the compiled transform against the library."""

import numpy as np
import pytest

from camlink.compute.ptychography.kernels.plan import LANES, fits, order, padded, passes, radices, twiddles
from camlink.compute.ptychography.kernels.transform import MOST_PASSES, pass_of

SMALL = [size for size in range(16, 151) if fits(size)]
LARGE = [192, 200, 240, 250, 256, 260, 320, 338, 343, 363, 384, 486, 500, 512, 1000, 1024, 1458, 2028, 2048]


def lanes_of(panel, size):
    real, imaginary = panel.reshape(2, padded(size), LANES)
    return real + 1j * imaginary


def test_sizes_with_a_plan():
    assert {16, 40, 96, 100, 120, 144, 260} <= set(SMALL) | {260}
    assert not any(fits(size) for size in (0, 1, 8, 15, 17, 34, 19 * 13, 2049, 2 * 2048, 4000))
    assert radices(260) == (13, 5, 4)
    assert radices(2048) == (2, 4, 4, 4, 4, 4)


@pytest.mark.parametrize("size", [size for size in range(16, 2049) if fits(size)])
def test_order_is_a_permutation_and_the_passes_fill_the_size(size):
    assert np.array_equal(np.sort(order(size)), np.arange(size))
    assert np.prod(radices(size)) == size
    assert len(passes(size)) <= MOST_PASSES
    assert passes(size)[-1][1] == 1
    assert 0 <= padded(size) - size < LANES


def test_twiddles_are_roots_of_unity():
    turn = twiddles(16)
    np.testing.assert_allclose(turn[0] + 1j * turn[1], np.exp(-2j * np.pi * np.arange(16) / 16), atol=1e-6)


@pytest.mark.parametrize("size", SMALL + LARGE)
def test_passes_are_the_transform_and_back(size):
    from scipy import fft

    rng = np.random.default_rng(size)
    signal = rng.standard_normal((size, LANES)) + 1j * rng.standard_normal((size, LANES))
    panel = np.zeros((2, padded(size), LANES), np.float32)
    panel[:, :size] = signal.real, signal.imag
    panel = panel.ravel()
    turn = twiddles(size)
    for radix, span in passes(size):
        pass_of(radix, back=False)(panel, 0, size, span, turn)
    got, expected = lanes_of(panel, size), fft.fft(signal, axis=0)[order(size)]
    assert np.abs(got[:size] - expected).max() < 3e-6 * np.abs(expected).max()
    assert not got[size:].any()
    for radix, span in reversed(passes(size)):
        pass_of(radix, back=True)(panel, 0, size, span, turn)
    back = lanes_of(panel, size)
    assert np.abs(back[:size] / size - signal).max() < 1e-5
    assert not back[size:].any()


@pytest.mark.parametrize("size", [32, 64])
def test_even_passes_in_plain_python_are_the_transform(size):
    rng = np.random.default_rng(size)
    signal = rng.standard_normal((size, LANES)) + 1j * rng.standard_normal((size, LANES))
    panel = np.concatenate([signal.real.ravel(), signal.imag.ravel()]).astype(np.float32)
    for radix, span in passes(size):
        pass_of(radix, back=False).py_func(panel, 0, size, span, twiddles(size))
    expected = np.fft.fft(signal, axis=0)[order(size)]
    assert np.abs(lanes_of(panel, size) - expected).max() < 1e-5 * np.abs(expected).max()
