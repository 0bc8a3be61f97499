"""The reduction against what must be true of photons: no bias, least variance, and the frame a solver expects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import COLUMNS, CountFrames, Header, RawFrames
from camlink.compute.correct import crop
from camlink.compute.correct.correction import Correction
from camlink.compute.correct.dark import Dark
from camlink.compute.correct.gain import Gain
from camlink.compute.correct.layout import Layout
from camlink.compute.correct.merge import combine
from camlink.compute.ptychography.reduce import Reduce, ReduceParameters
from camlink.testing.context import RecordingContext


def test_merging_poisson_pairs_is_unbiased_and_as_sharp_as_all_the_light():
    rng = np.random.default_rng(7)
    dwell_s, rate = np.array([0.5, 0.1]), 60.0
    pairs = np.stack([rng.poisson(rate * t, (400, 400)) for t in dwell_s]).astype(np.float32)
    pairs[0, :, 200:] = np.nan  # the long exposure saturates on one side
    merged = combine(pairs, dwell_s, 0.6)
    both, short = merged[:, :200], merged[:, 200:]
    truth = rate * 0.6
    assert both.mean() == pytest.approx(truth, abs=4 * np.sqrt(truth / both.size))
    assert short.mean() == pytest.approx(truth, abs=4 * np.sqrt(6 * truth / short.size))
    assert both.var() == pytest.approx(truth, rel=0.03)
    assert short.var() == pytest.approx(36 * rate * 0.1, rel=0.03)


def test_the_rule_has_less_variance_than_choosing_or_averaging_rates():
    rng = np.random.default_rng(8)
    dwell_s = np.array([0.5, 0.1])
    pairs = np.stack([rng.poisson(100 * t, (300, 300)) for t in dwell_s]).astype(np.float32)
    ours = combine(pairs, dwell_s, 0.6).var()
    chosen = (pairs[0] / 0.5 * 0.6).var()
    averaged = ((pairs[0] / 0.5 + pairs[1] / 0.1) / 2 * 0.6).var()
    assert ours < 0.9 * chosen
    assert ours < 0.6 * averaged


def test_a_detector_with_offsets_drift_noise_and_gain_steps_gives_back_its_photons():
    layout, rng = Layout(96, 96), np.random.default_rng(9)
    scale, noise = 15.0, 4.0
    offset = rng.normal(0, 3, layout.shape)

    def read(photons: np.ndarray) -> np.ndarray:
        level = 0x1000 + 40 * np.sin(layout.owners[0])[None, :] + rng.normal(0, 5) * np.linspace(0, 1, 96)[:, None]
        signal = scale * photons
        step = np.where(signal > 4 * 3900, 8, np.where(signal > 3900, 4, 1))
        code = np.where(step == 8, 0xC000, np.where(step == 4, 0x4000, 0))
        raw = np.empty((96, 96))
        raw[:, layout.overscan_columns[0].ravel()] = np.repeat(level[:, ::10], 2, axis=1)
        raw[:, layout.data_columns[0]] = level + offset + signal / step
        image = np.clip(raw + rng.normal(0, noise, raw.shape), 0, 0x1FFF).round().astype(np.uint16)
        image[:, layout.data_columns[0]] |= code.astype(np.uint16)
        return image

    correction = Correction(layout, Gain(), half_rows=20, saturation_adu=np.inf, adu_per_photon=scale,
                            threshold_photons=0.5)
    dark = Dark(layout.shape)
    dark.add(correction.levels(np.stack([read(np.zeros(layout.shape)) for _ in range(24)])))
    for mean in (30.0, 500.0, 1800.0):
        photons = rng.poisson(mean, layout.shape)
        found = correction.photons(read(photons)[None], dark.field(8), (0, 0), 80)[0]
        error = found - photons[:80, :80]
        gain = 1 if scale * mean < 3900 else 4 if scale * mean < 15600 else 8
        assert abs(error.mean()) < 0.15 * gain
        assert error.std() < 1.5 * gain * noise / scale
    empty = correction.photons(read(np.zeros(layout.shape))[None], dark.field(8), (0, 0), 80)[0]
    assert empty.mean() < 0.06


def small_and_large(dose: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensity (256, 256) of a compact beam behind a rough sample, what a detector of 128 pixels sees of it, and what
    that detector sees when it is half a small pixel further on, where cells of two have their middle [photon]."""
    rng = np.random.default_rng(10)
    y, x = np.mgrid[:256, :256] - 128
    radius = np.hypot(y, x)
    pupil = 1 / (1 + np.exp((radius - 32) / 2)) / (1 + np.exp((12 - radius) / 2))
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(0.006j * radius**2))))
    wave = probe * np.exp(0.7j * rng.standard_normal((256, 256)))

    def intensity(field: np.ndarray) -> np.ndarray:
        return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(field)))) ** 2

    inner = wave[64:192, 64:192]
    ramp = np.exp(-1j * np.pi * (x + y)[64:192, 64:192] / 256)
    large = intensity(wave)
    scale = dose / large.sum()
    return large * scale, 4 * intensity(inner) * scale, 4 * intensity(inner * ramp) * scale


def miss(frame: np.ndarray, wanted: np.ndarray) -> float:
    """Distance of the amplitudes, relative."""
    off = np.sqrt(np.maximum(frame, 0)) - np.sqrt(wanted)
    return float(np.linalg.norm(off) / np.sqrt(wanted.sum()))


def test_band_limited_down_sampling_gives_what_a_small_detector_would_have_seen():
    large, wanted, wanted_between = small_and_large(1e6)
    band_limited = miss(crop.reduce(large[None].astype(np.float32), 128, "fourier")[0], wanted)
    binned = miss(crop.reduce(large[None].astype(np.float32), 128, "bin")[0], wanted_between)
    assert band_limited < 0.02
    assert band_limited < binned < 0.05


@pytest.mark.parametrize("dose", [1e5, 1e6])
@pytest.mark.parametrize("method", ["fourier", "bin"])
def test_shot_noise_is_hardly_more_than_that_of_a_small_detector(dose, method):
    large, wanted, wanted_between = small_and_large(dose)
    rng = np.random.default_rng(11)
    counts = rng.poisson(large).astype(np.float32)[None]
    truth = wanted if method == "fourier" else wanted_between
    assert miss(crop.reduce(counts, 128, method)[0], truth) < 1.2 * miss(rng.poisson(truth), truth)


def reduced(experiment: Experiment, folder: Path) -> tuple[list[CountFrames], dict[str, Any]]:
    """All frames of an experiment through the reduction as it stands, four at a time."""
    plan = experiment.plan("")
    told = RecordingContext(folder)
    reduce = Reduce.make(ReduceParameters(), told)
    given: list[CountFrames] = []
    for at in range(0, len(plan.arrays["index"]), 4):
        columns = {name: plan.arrays[name][at:at + 4] for name in COLUMNS}
        raw = np.stack([experiment.frame(int(index)) for index in columns["index"]])
        given += list(reduce(RawFrames(Header(scan=plan.scan, made_s=0.0), {"frames": raw, **columns})))
    return [*given, *reduce.finish()], told.facts


@pytest.mark.parametrize("double", [False, True])
def test_the_frames_of_the_twin_come_back_within_their_shot_noise(double, tmp_path):
    experiment = Experiment(TwinParameters(points_y=3, points_x=4, dark_frames=12, double_exposure=double))
    given, facts = reduced(experiment, tmp_path)
    light = 1.1 if double else 1.0
    rng = np.random.default_rng(12)
    misses = []
    for frame, point in ((f, p) for out in given for f, p in zip(out.frames, out.point, strict=True)):
        mean = crop.reduce(experiment.intensity(int(point))[None] * np.float32(light), 128, "fourier")[0]
        truth = np.maximum(mean, 0).astype(np.float64)
        assert np.isfinite(frame).all()
        assert frame.sum() == pytest.approx(truth.sum(), rel=0.02)
        misses.append((miss(frame, truth), miss(rng.poisson(truth), truth)))
    ours, poisson = np.mean(misses, axis=0)
    assert len(misses) == 12
    assert ours < 1.1 * poisson
    assert [facts["centre_y_px"], facts["centre_x_px"]] == pytest.approx(
        [corner + experiment.far.crop // 2 for corner in experiment.data_corner], abs=0.5)
    assert facts["bad_pixels"] == len(experiment.detector.bad)
    assert facts["merged"] == (12 if double else 0)
    assert facts["warnings"] == []
