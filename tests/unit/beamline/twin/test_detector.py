import numpy as np
import pytest
from detector_image import data_image

from camlink.beamline.twin.detector import DATA_MASK, Detector, Response
from camlink.capture.fastccd.geometry import Geometry

GEOMETRY = Geometry(rows=24, chips=2)
QUIET = Response(read_noise_adu=0.0, drift_adu=0.0, leakage_adu_per_s=0.0, bad_pixels=0, channel_spread_adu=0.0,
                 column_spread_adu=0.0)


def rng():
    return np.random.default_rng(0)


def decoded(image, response):
    steps = dict(zip(response.gain_codes, response.gain_steps, strict=True))
    gain = np.vectorize(steps.get)(image & 0xC000)
    return gain * ((image & DATA_MASK).astype(float) - response.bias_adu)


@pytest.mark.parametrize("geometry", [GEOMETRY, Geometry(rows=24, chips=2, overscan=(10, 11))])
def test_photons_land_on_their_pixels_and_nowhere_else(geometry):
    detector = Detector(geometry, QUIET, 0)
    photons = rng().integers(0, 40, (12, 17))
    image = detector.digitise(photons, (18, 31), 0, 0.02, rng())
    expected = np.zeros(detector.data_shape)
    expected[18:30, 31:48] = photons * QUIET.adu_per_photon
    signal = decoded(image, QUIET)
    np.testing.assert_array_equal(data_image(signal, geometry), expected)
    assert signal.sum() == expected.sum()


@pytest.mark.parametrize("middle", [0x4000, 0x8000])
def test_gain_steps_follow_the_signal(middle):
    response = Response(read_noise_adu=0.0, drift_adu=0.0, leakage_adu_per_s=0.0, bad_pixels=0, channel_spread_adu=0.0,
                        column_spread_adu=0.0, gain_codes=(0, middle, 0xC000))
    detector = Detector(GEOMETRY, response, 0)
    photons = np.array([[0, 100, 260, 261, 1000, 1040, 1041, 2000]])
    image = data_image(detector.digitise(photons, (0, 0), 0, 0.02, rng()), GEOMETRY)
    row = image[0, :8]
    np.testing.assert_array_equal(row & 0xC000, [0, 0, 0, middle, middle, middle, 0xC000, 0xC000])
    np.testing.assert_allclose(decoded(row, response), 15.0 * photons[0], atol=4)


def test_too_much_light_saturates_at_the_lowest_gain():
    detector = Detector(GEOMETRY, QUIET, 0)
    photons = np.array([[10**6, 2181]])  # (0x1fff - 0x1000) x 8 / 15 = 2183.5 photons saturate
    image = data_image(detector.digitise(photons, (0, 0), 0, 0.02, rng()), GEOMETRY)
    assert image[0, 0] == 0xC000 | DATA_MASK
    assert image[0, 1] & DATA_MASK < DATA_MASK


def test_the_marker_of_lost_samples_is_never_set():
    detector = Detector(GEOMETRY, Response(bias_adu=8191, drift_adu=50.0), 0)
    image = detector.digitise(np.full(detector.data_shape, 10**7), (0, 0), 5, 1.0, rng())
    assert not (image & 0x2000).any()


def test_channels_differ_and_their_baseline_drifts():
    response = Response(read_noise_adu=0.0, leakage_adu_per_s=0.0, bad_pixels=0, column_spread_adu=0.0)
    detector = Detector(GEOMETRY, response, 0)
    early, late = (detector.digitise(None, (0, 0), k, 0.02, rng()).astype(int) for k in (0, 300))
    channels = early[0].reshape(-1, 12)
    assert (np.ptp(channels, axis=1) == 0).all()
    assert np.ptp(channels[:, 0]) > 20
    assert np.abs(late - early).max() > 3
    assert np.ptp(early[:24, 0]) > 3  # along the rows


def test_both_halves_drift_from_their_own_readout_edge():
    response = Response(read_noise_adu=0.0, leakage_adu_per_s=0.0, bad_pixels=0, drift_adu=200.0)
    image = Detector(Geometry(rows=200, chips=12), response, 0).digitise(None, (0, 0), 40, 0.02, rng()).astype(int)
    slope = np.abs(np.diff(image, axis=0)).mean(axis=1)
    assert slope[:10].mean() > 1.2 * slope[185:195].mean()
    assert slope[-10:].mean() > 1.2 * slope[205:215].mean()


def test_bad_pixels_are_dead_or_hot():
    detector = Detector(GEOMETRY, Response(bad_pixels=5), 0)
    frames = np.stack([detector.digitise(None, (0, 0), 0, 0.02, np.random.default_rng(k)) for k in range(20)])
    frames = frames.astype(int)
    assert len(detector.bad) == 10
    dead, hot = frames[:, *detector.bad[:5].T], frames[:, *detector.bad[5:].T]
    assert (np.ptp(dead, axis=0) == 0).all()
    assert (hot.mean(axis=0) > frames.mean() + 500).all()
    assert set(detector.bad[:, 1]) <= set(np.flatnonzero(~np.isin(np.arange(192) % 12, (0, 11))))


def test_leakage_grows_with_the_exposure_time_on_pixels_alone():
    response = Response(read_noise_adu=0.0, drift_adu=0.0, bad_pixels=0)
    detector = Detector(GEOMETRY, response, 0)
    short, long = (detector.digitise(None, (0, 0), 0, t, rng()).astype(int) for t in (0.0, 10.0))
    grown = long - short
    assert data_image(grown, GEOMETRY).mean() == pytest.approx(250, rel=0.02)
    assert grown[:, np.isin(np.arange(192) % 12, (0, 11))].max() == 0
