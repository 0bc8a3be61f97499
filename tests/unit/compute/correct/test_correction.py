import numpy as np
import pytest
from correction_steps import reference

from camlink.compute.correct.correction import Correction, warm
from camlink.compute.correct.dark import Field
from camlink.compute.correct.gain import Gain
from camlink.compute.correct.layout import Layout

OPTIONS = {"half_rows": 10, "saturation_adu": np.inf, "adu_per_photon": 10.0, "threshold_photons": 0.5}
CODES = (0x0000, 0x4000, 0xC000)


def flat(signal: int = 1600, code: int = 0, layout: Layout | None = None, n: int = 1) -> np.ndarray:
    """Raw frames of a flat field of `signal` ADU read at the gain of `code`, on a baseline of 25."""
    layout = layout or Layout(40, 48)
    step = {0x0000: 1, 0x4000: 4, 0x8000: 4, 0xC000: 8}[code]
    raw = np.full((n, layout.rows, layout.width), 0x1000 + 25, dtype=np.uint16)
    for half in range(2):
        rows = slice(half * layout.rows // 2, (half + 1) * layout.rows // 2)
        raw[:, rows, layout.data_columns[half]] = (0x1000 + 25 + signal // step) | code
    return raw


def field(layout: Layout, level: float = 0.0) -> Field:
    return Field(np.full(layout.shape, level, dtype=np.float32), 1, 0)


@pytest.mark.parametrize("code", CODES)
def test_a_flat_field_is_the_same_at_every_gain(code):
    layout = Layout(40, 48)
    correction = Correction(layout, Gain(), **OPTIONS)
    photons = correction.photons(flat(code=code), field(layout), (0, 0), 40)
    np.testing.assert_allclose(photons, 160, rtol=1e-5)
    assert correction.unknown == 0


def test_the_dark_is_an_adc_level_and_is_multiplied_with_the_signal():
    layout = Layout(40, 48)
    photons = Correction(layout, Gain(), **OPTIONS).photons(flat(code=0xC000), field(layout, 3.0), (0, 0), 40)
    np.testing.assert_allclose(photons, (1600 - 8 * 3) / 10, rtol=1e-5)


def test_the_wrong_middle_code_is_masked_and_counted():
    layout = Layout(40, 48)
    correction = Correction(layout, Gain(middle_code=0x4000), **OPTIONS)
    photons = correction.photons(flat(code=0x8000), field(layout), (0, 0), 40)
    assert np.isnan(photons).all()
    assert correction.unknown == 1600


def test_saturated_missing_and_bad_pixels_are_nan_and_no_others():
    layout = Layout(40, 48)
    raw = flat()
    raw[0, 3, layout.data_columns[0, 4]] = 0x1FFF
    raw[0, 5, layout.data_columns[0, 6]] |= 0x2000
    raw[0, 30, layout.data_columns[1, 8]] = (0x1000 + 25 + 500) | 0xC000
    dark = field(layout)
    dark.level[9, 10] = np.nan
    photons = Correction(layout, Gain(), **(OPTIONS | {"saturation_adu": 3000.0})).photons(raw, dark, (0, 0), 40)
    assert {tuple(p) for p in np.argwhere(np.isnan(photons[0]))} == {(3, 4), (5, 6), (30, 8), (9, 10)}


def test_levels_keep_saturated_samples():
    layout = Layout(40, 48)
    raw = flat()
    raw[0, 3, layout.data_columns[0, 4]] = 0x1FFF
    levels = Correction(layout, Gain(), **OPTIONS).levels(raw)
    assert levels[0, 3, 4] == 0xFFF - 25
    assert levels.shape == (1, 40, 40)


@pytest.mark.parametrize(("first", "size"), [
    ((0, 0), 60), ((-7, 20), 48), ((33, -9), 32), ((10, 11), 8), ((100, 0), 16)])
@pytest.mark.parametrize("overscan", [(0, 11), (10, 11), (5,), ()])
def test_the_fused_pass_equals_the_steps_in_numpy(first, size, overscan):
    layout = Layout(80, 72, overscan)
    rng = np.random.default_rng(size)
    raw = (0x1000 + rng.normal(60, 30, (2, 80, 72)) + np.arange(80)[:, None]).astype(np.uint16)
    raw |= rng.choice(np.array([0, 0, 0, 0x4000, 0xC000, 0x8000], dtype=np.uint16), raw.shape)
    raw[rng.random(raw.shape) < 0.02] |= 0x2000
    raw[rng.random(raw.shape) < 0.02] |= 0x1FFF
    dark = Field(rng.normal(0, 5, layout.shape).astype(np.float32), 3, 0)
    dark.level[rng.random(layout.shape) < 0.01] = np.nan
    options = OPTIONS | {"saturation_adu": 600.0}
    fused = Correction(layout, Gain(), **options).photons(raw, dark, first, size)
    steps = reference(raw, layout, Gain(), field=dark, first=first, size=size, **options)
    close = np.isclose(fused, steps, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert (~close).sum() <= 2  # a value on the very threshold may round to either side


def test_outside_the_sensor_there_is_no_value():
    layout = Layout(40, 48)
    correction = Correction(layout, Gain(), **OPTIONS)
    window = correction.photons(flat(), field(layout), (-2, 36), 8)  # the sensor is 40 x 40
    np.testing.assert_allclose(window[0, 2:, :4], 160, rtol=1e-5)
    assert np.isnan(window[0, :2]).all()
    assert np.isnan(window[0, :, 4:]).all()
    assert np.isnan(correction.photons(flat(), field(layout), (50, 50), 8)).all()


def test_read_only_and_strided_frames_are_taken():
    layout = Layout(40, 48)
    raw = flat(n=4)
    raw.flags.writeable = False
    photons = Correction(layout, Gain(), **OPTIONS).photons(raw[::2], field(layout), (0, 0), 40)
    np.testing.assert_allclose(photons, 160, rtol=1e-5)


def test_warming_runs_with_any_overscan():
    for overscan in ((0, 11), ()):
        warm(Layout(2, 12, overscan), Gain())
