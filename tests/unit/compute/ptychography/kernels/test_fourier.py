"""The passes of the compiled transform against the library."""

import numpy as np
import pytest

from camlink.compute.ptychography.kernels.fourier import LANES, odd, order, spans, twiddles


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256, 512, 1024, 2048])
def test_order_is_a_permutation_and_spans_fill_the_size(size):
    assert sorted(order(size)) == list(range(size))
    radix4 = sum(span > 0 for span in spans(size))
    assert 4**radix4 * (2 if odd(size) else 1) == size
    assert len(spans(size)) == 5


def test_twiddles_are_roots_of_unity():
    turn = twiddles(16)
    np.testing.assert_allclose(turn[0] + 1j * turn[1], np.exp(-2j * np.pi * np.arange(16) / 16), atol=1e-6)


@pytest.mark.parametrize("size", [32, 64])
def test_passes_in_plain_python_are_the_transform(size):
    from camlink.compute.ptychography.kernels import fourier

    rng = np.random.default_rng(size)
    signal = rng.standard_normal((size, LANES)) + 1j * rng.standard_normal((size, LANES))
    panel = np.concatenate([signal.real.ravel(), signal.imag.ravel()]).astype(np.float32)
    turn = twiddles(size)
    if odd(size):
        fourier.forward2.py_func(panel, 0, size, turn)
    for span in filter(None, spans(size)):
        fourier.forward4.py_func(panel, 0, size, span, turn)
    got = (panel[:size * LANES] + 1j * panel[size * LANES:]).reshape(size, LANES)
    expected = np.fft.fft(signal, axis=0)[order(size)]
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    for span in reversed(list(filter(None, spans(size)))):
        fourier.inverse4.py_func(panel, 0, size, span, turn)
    if odd(size):
        fourier.inverse2.py_func(panel, 0, size, turn)
    back = (panel[:size * LANES] + 1j * panel[size * LANES:]).reshape(size, LANES) / size
    assert np.abs(back - signal).max() < 1e-5
