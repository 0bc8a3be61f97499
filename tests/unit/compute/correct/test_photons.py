import numpy as np

from camlink.compute.correct.photons import to_photons


def test_signal_becomes_photons_and_is_not_floored():
    np.testing.assert_allclose(to_photons(np.array([30, 37.5], dtype=np.float32), 15, 0.5), [2, 2.5])


def test_noise_below_the_threshold_is_zero_and_nan_stays():
    counts = to_photons(np.array([-20, 5, 7.6, np.nan], dtype=np.float32), 15, 0.5)
    np.testing.assert_allclose(counts, [0, 0, 7.6 / 15, np.nan], rtol=1e-6)


def test_the_input_is_left_alone():
    signal = np.array([-3.0], dtype=np.float32)
    to_photons(signal, 15, 0.5)
    assert signal[0] == -3
