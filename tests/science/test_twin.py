"""The twin against physics: what its frames must be, whatever made them."""

import msgspec
import numpy as np
import pytest
from detector_image import data_image
from scipy import stats

from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters
from camlink.beamline.twin.scan import fermat
from camlink.block import FrameKind

SCAN = TwinParameters(points_y=4, points_x=4, dark_frames=24)
STEPS = {0x0000: 1, 0x4000: 4, 0xC000: 8}


@pytest.fixture(scope="module")
def experiment():
    return Experiment(SCAN)


def changed(**values):
    return Experiment(msgspec.structs.replace(SCAN, **values))


def lit(experiment, image):
    """The detector area used, of an image without overscan columns."""
    size, (row, column) = experiment.far.crop, experiment.data_corner
    return image[row:row + size, column:column + size]


def decoded(experiment, indices):
    """Signal [ADU] of frames without overscan columns (n, y, x), and the marker of good pixels (y, x)."""
    geometry = experiment.detector.geometry
    darks = [experiment.frame(k) & 0x1FFF for k in range(experiment.parameters.dark_frames)]
    dark = data_image(np.mean(darks, axis=0), geometry)
    good = np.ones(experiment.detector.shape, bool)
    good[tuple(experiment.detector.bad.T)] = False
    frames = []
    for k in indices:
        image = data_image(experiment.frame(k), geometry)
        gain = np.select([(image & 0xC000) == code for code in STEPS], list(STEPS.values()))
        frames.append(gain * ((image & 0x1FFF) - dark))
    return np.stack(frames), data_image(good, geometry)


def far_field(wave):
    return np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))


def padded(wave, size):
    before = (size - wave.shape[0]) // 2
    return np.pad(wave, (before, size - wave.shape[0] - before))


def test_intensity_is_the_far_field_of_probe_times_object(experiment):
    truth = experiment.truth()
    n = len(truth.probe)
    for point in (0, 5, 15):
        row, column = np.rint((truth.positions_m[point] - truth.origin_m) / truth.object_pixel_m).astype(int)
        wave = truth.probe * truth.object[row:row + n, column:column + n]
        expected = np.abs(far_field(padded(wave, experiment.far.crop))) ** 2
        np.testing.assert_allclose(experiment.intensity(point), expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_positions_of_the_plan_are_those_of_the_frames(experiment):
    plan, truth = experiment.plan("udp://127.0.0.1:1"), experiment.truth()
    shot = plan.arrays["kind"] == FrameKind.EXPOSURE
    np.testing.assert_array_equal(plan.arrays["position_m"][shot], truth.positions_m[plan.arrays["point"][shot]])
    k = int(np.flatnonzero(shot)[7])
    seen = experiment.photons(k).astype(float)
    likeness = [np.corrcoef(seen.ravel(), experiment.intensity(j).ravel())[0, 1] for j in range(16)]
    assert int(np.argmax(likeness)) == plan.arrays["point"][k] == 7


def test_reduced_frame_is_the_far_field_in_the_reduced_window(experiment):
    """Cropping the autocorrelation to the reduced window gives |F(P O)|^2 there: the beam is compact enough."""
    truth, n = experiment.truth(), experiment.far.window
    correlation = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(experiment.intensity(3))))
    start = (experiment.far.crop - n) // 2
    kept = np.fft.ifftshift(correlation[start:start + n, start:start + n])
    reduced = np.fft.fftshift(np.fft.ifft2(kept).real).clip(0)
    row, column = experiment.corners.corner_px[3].astype(int)
    expected = np.abs(far_field(truth.probe * truth.object[row:row + n, column:column + n])) ** 2
    assert np.linalg.norm(np.sqrt(reduced) - np.sqrt(expected)) < 0.015 * np.linalg.norm(np.sqrt(expected))


def test_parseval(experiment):
    truth, n = experiment.truth(), experiment.far.window
    for point in range(4):
        row, column = experiment.corners.corner_px[point].astype(int)
        power = np.sum(np.abs(truth.probe * truth.object[row:row + n, column:column + n]) ** 2)
        assert experiment.intensity(point).sum() == pytest.approx(power, rel=1e-4)


@pytest.mark.parametrize("photons", [1e4, 1e6])
def test_counts_follow_the_photons(photons):
    experiment = changed(phantom="empty", photons=photons)
    counted = [experiment.photons(k).sum() for k in range(24, 40)]
    assert np.mean(counted) == pytest.approx(photons, abs=4 * np.sqrt(photons / 16))


def test_counts_are_poisson():
    experiment = changed(phantom="empty", photons=2e5)
    mean = experiment.intensity(0).astype(float)
    counted = np.stack([experiment.photons(k) for k in range(24, 40)])  # no object: every point is alike
    bright = mean > 5
    chi = ((counted[:, bright] - mean[bright]) ** 2 / mean[bright]).sum()
    freedom = 16 * int(bright.sum())
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)
    dim = (mean > 0.2) & (mean < 2)
    empty = (counted[:, dim] == 0).mean(axis=0)
    assert empty.mean() == pytest.approx(np.exp(-mean[dim]).mean(), abs=0.01)


def test_gain_decoding_gives_the_photons_back():
    experiment = changed(photons=4e6)
    indices = range(24, 28)
    signal, good = decoded(experiment, indices)
    good = lit(experiment, good)
    photons = np.stack([experiment.photons(k) for k in indices])
    error = np.stack([lit(experiment, s) for s in signal]) / SCAN.adu_per_photon - photons
    used = {int(code) for k in indices for code in np.unique(experiment.frame(k) & 0xC000)}
    assert used == set(STEPS)
    # noise and rounding of a sample, and the drift of the baseline, are multiplied by the gain step
    for low, high, step in ((0, 260, 1), (261, 1040, 4), (1041, 2160, 8)):
        chosen = good & (photons >= low) & (photons <= high)
        assert chosen.sum() > 20
        assert np.sqrt(np.mean(error[chosen] ** 2)) * SCAN.adu_per_photon < 3 * step * SCAN.read_noise_adu
        assert abs(error[chosen].mean()) * SCAN.adu_per_photon < 2 * step * SCAN.read_noise_adu


def test_the_beam_falls_where_the_offset_says(experiment):
    signal, good = decoded(experiment, range(24, 40))
    mean = np.where(good, signal.mean(axis=0), 0).clip(0)
    mean[mean < 5 * SCAN.read_noise_adu] = 0
    middle = [size // 2 for size in mean.shape]
    found = [float(np.arange(mean.shape[a]) @ mean.sum(axis=1 - a) / mean.sum()) for a in (0, 1)]
    assert found == pytest.approx([middle[0] + SCAN.centre_offset_y, middle[1] + SCAN.centre_offset_x], abs=1.5)


def test_overscan_holds_the_baseline_only(experiment):
    overscan = np.isin(np.arange(384) % 12, (0, 11))
    shot = experiment.frame(30)[:, overscan].astype(int)
    dark = np.mean([experiment.frame(k)[:, overscan] for k in range(24)], axis=0)
    assert not (shot & 0xE000).any()
    rows = slice(96, 224)  # the brightest ones
    assert (shot - dark)[rows].std() < 2 * SCAN.read_noise_adu
    assert np.abs((shot - dark)[rows].mean()) < SCAN.read_noise_adu


def test_overscan_follows_the_drift_of_its_channel(experiment):
    """Subtracting the overscan of a channel removes what drifted since the first frame."""
    quiet = changed(read_noise_adu=0.0, bad_pixels=0, dark_frames=400)
    early, late = (quiet.frame(k).astype(int).reshape(320, 32, 12) for k in (0, 399))
    moved = late - early
    rest = moved[..., 1:11] - moved[..., [0, 11]].mean(axis=-1, keepdims=True)
    assert np.abs(moved).max() > 3
    assert np.abs(rest).max() <= 1.5


def test_dark_frames_have_no_photons(experiment):
    assert experiment.photons(0) is None
    darks = np.stack([experiment.frame(k).astype(float) for k in range(24)])
    assert not (darks.astype(int) & 0xE000).any()
    lit_rows, edge_rows = darks[:, 128:192], darks[:, 0:64]
    assert np.median(lit_rows.std(axis=0)) == pytest.approx(np.median(edge_rows.std(axis=0)), rel=0.05)
    assert np.median(lit_rows.std(axis=0)) == pytest.approx(SCAN.read_noise_adu, rel=0.1)


def test_object_pixel_follows_from_a_known_period():
    """A grating of period d turns the beam by wavelength / d: the shift on the detector is z lambda / (d pixel)."""
    experiment = changed(phantom="empty")
    d_px = 8
    x = np.arange(experiment.object.shape[1])
    experiment.object = np.broadcast_to(np.exp(2j * np.pi * x / d_px), experiment.object.shape).astype(np.complex64)
    turned = experiment.intensity(0)
    at = np.arange(256) @ turned.sum(axis=0) / turned.sum() - 128
    d_m = d_px * experiment.far.object_pixel_m
    assert at == pytest.approx(experiment.far.wavelength_m * SCAN.distance_m / d_m / SCAN.detector_pixel_m, abs=0.2)


def test_object_pixel_agrees_with_the_scan_after_the_reduction(experiment):
    scan = experiment.plan("").scan
    reduced = msgspec.structs.replace(scan, shape=(128, 128), pixel_m=(60e-6, 60e-6))
    assert reduced.object_pixel_m == pytest.approx((experiment.far.object_pixel_m,) * 2)


def test_double_exposures_share_their_point_and_scale_with_dwell():
    experiment = changed(double_exposure=True, short_fraction=0.2, dark_frames=2)
    shot = experiment.columns["kind"] == FrameKind.EXPOSURE
    pairs = np.flatnonzero(shot).reshape(-1, 2)
    long, short = pairs.T
    np.testing.assert_array_equal(experiment.columns["point"][long], experiment.columns["point"][short])
    np.testing.assert_allclose(experiment.columns["dwell_s"][short], 0.2 * experiment.columns["dwell_s"][long])
    ratio = sum(experiment.photons(k).sum() for k in short) / sum(experiment.photons(k).sum() for k in long)
    assert ratio == pytest.approx(0.2, rel=2e-3)


def test_subpixel_positions_move_the_beam_by_a_fraction():
    """A fraction on the beam is the same as a fraction on the object, which a slit shows as a phase ramp."""
    experiment = changed(subpixel=True)
    fraction = experiment.corners.corner_px[2] % 1
    assert fraction.any()
    moved = experiment._shifted(fraction)
    power, shifted = (np.abs(p) ** 2 for p in (experiment.probe, moved))
    at = np.arange(128)
    for axis in (0, 1):
        walk = at @ (shifted.sum(axis=1 - axis) / shifted.sum() - power.sum(axis=1 - axis) / power.sum())
        assert walk == pytest.approx(fraction[axis], abs=0.01)


def test_spiral_density_is_uniform():
    """Equal areas hold equal counts: r^2 is uniform, and so is the angle."""
    at = fermat(900, 150e-9)
    radius2 = (at**2).sum(axis=1)
    assert stats.kstest(radius2 / (900 * 150e-9**2 / np.pi), "uniform").statistic < 0.01
    assert stats.kstest((np.arctan2(at[:, 0], at[:, 1]) / (2 * np.pi)) % 1, "uniform").statistic < 0.02


def test_flicker_and_stray_light_are_counted():
    experiment = changed(phantom="empty", flicker=0.1, dark_frames=1, points_y=8, points_x=8)
    sums = np.array([experiment.photons(k).sum() for k in range(1, 65)])
    assert sums.std() / sums.mean() == pytest.approx(0.1, rel=0.35)
    stray = changed(phantom="empty", background_photons=2.0)
    assert stray.photons(24)[:20, :20].mean() == pytest.approx(2, rel=0.2)
