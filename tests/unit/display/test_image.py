import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.display.image import Lens, area_mean, clip, domain, encode, part_of, picture, quantise

RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


def test_ends_of_a_fixed_domain_are_1_and_255_and_beyond_is_clamped():
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan, np.inf]])
    assert quantise(values, 0, 1).tolist() == [[1, 1, 128, 255, 255, 0, 0]]


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_every_scale_rises_with_the_value(scale):
    levels = quantise(np.linspace(1, 100, 500)[None], 1, 100, scale)[0].astype(int)
    assert levels[0] == 1
    assert levels[-1] == 255
    assert (np.diff(levels) >= 0).all()


def test_the_middle_of_a_log_scale_is_the_geometric_mean():
    assert quantise(np.array([[10.0]]), 1, 100, "log")[0, 0] == 128
    assert quantise(np.array([[25.0]]), 0, 100, "sqrt")[0, 0] == 128


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-30, np.nan])
def test_constant_images_give_a_picture(scale, value):
    image = picture(np.full((9, 7), value), Lens(scale=scale))
    assert len(np.unique(image.pixels)) == 1
    assert (image.pixels[0, 0] == 0) == math.isnan(value)
    assert math.isfinite(image.low)
    assert image.high > image.low


def test_log_takes_zeros_and_negatives_as_the_lowest_value():
    plane = np.array([[0.0, -5.0, 1.0, 1000.0]])
    image = picture(plane, Lens(scale="log", low=1.0, high=1000.0))
    assert image.pixels.tolist() == [[1, 1, 1, 255]]


def test_a_log_domain_spans_five_decades_at_most():
    low, high = domain(np.geomspace(1e-12, 1e6, 1000), Lens(scale="log"))
    assert low == pytest.approx(high * 1e-5)


def test_an_area_mean_ignores_pixels_without_value():
    plane = np.array([[1.0, 3.0, np.nan], [np.nan, 5.0, np.nan], [7.0, np.inf, 2.0]])
    mean = area_mean(plane, 2)
    assert mean[0, 0] == 3.0
    assert np.isnan(mean[0, 1])
    assert mean[1].tolist() == [7.0, 2.0]


def test_an_area_mean_conserves_the_mean_of_whole_squares():
    plane = np.random.default_rng(0).normal(size=(24, 36))
    assert area_mean(plane, 4).mean() == pytest.approx(plane.mean())


def test_phase_is_reduced_as_a_complex_mean_across_the_wrap():
    plane = np.exp(1j * np.array([[math.pi - 0.1, -math.pi + 0.1]] * 2))
    image = picture(plane, Lens(part="phase", low=-math.pi, high=math.pi, height=1, width=1))
    assert image.pixels[0, 0] in (1, 255)  # near pi; the mean of the angles would be 0, level 128


def test_complex_has_two_planes_and_amplitude_from_zero():
    image = picture(RAMP * np.exp(1j * 0.5), Lens(part="complex"))
    assert image.pixels.shape == (2, 8, 8)
    assert image.low == 0
    assert np.abs(image.pixels[1][RAMP > 0].astype(int) - (1 + 254 * (0.5 / math.pi + 1) / 2)).max() <= 1


def test_the_colours_stay_while_zooming():
    plane = np.random.default_rng(1).normal(size=(50, 60))
    whole, zoomed = picture(plane, Lens()), picture(plane, Lens(region=(10, 10, 14, 15)))
    assert (whole.low, whole.high) == (zoomed.low, zoomed.high)
    assert (zoomed.pixels == whole.pixels[10:14, 10:15]).all()


def test_a_small_view_is_reduced_and_says_by_how_much():
    image = picture(np.ones((100, 300)), Lens(height=50, width=50))
    assert image.step == 6
    assert image.pixels.shape == (17, 50)


def test_pixels_outside_of_the_valid_area_have_no_value_and_no_say():
    plane = np.where(np.eye(8, dtype=bool), 2.0, 1e9)
    image = picture(plane, Lens(), np.eye(8, dtype=bool))
    assert ((image.pixels == 0) == ~np.eye(8, dtype=bool)).all()
    assert image.high < 3


def test_parts_follow_the_array():
    assert part_of(RAMP, "phase") == "value"
    assert part_of(RAMP * 1j, "value") == "amplitude"


@given(st.tuples(*[st.integers(-(2**40), 2**40)] * 4), st.integers(1, 60), st.integers(1, 60))
def test_any_region_is_clipped_to_pixels_that_exist(region, height, width):
    y0, x0, y1, x1 = clip(region, (height, width))
    assert 0 <= y0 < y1 <= height
    assert 0 <= x0 < x1 <= width


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, bool, np.float64])
def test_integers_and_booleans_are_pictures_too(dtype):
    assert picture(np.kron(np.eye(3), np.ones((2, 2))).astype(dtype), Lens(height=3, width=3)).pixels.max() == 255


def test_the_header_is_32_little_endian_bytes():
    image = picture(RAMP, Lens(scale="log"))
    data = encode(image, sequence=7, time_ms=1234.5, domain_id=300, panel=3)
    assert struct.unpack("<IIIIdII", data[:32]) == (7, 8, 8, 0 | 1 << 8 | 300 << 16, 1234.5, 3, 0)
    assert data[32:] == image.pixels.tobytes()
    two = encode(picture(RAMP * 1j, Lens(part="complex")), sequence=2**32 + 1, time_ms=0)
    assert struct.unpack_from("<I", two)[0] == 1
    assert struct.unpack_from("<I", two, 12)[0] & 0xFF == 1
    assert len(two) == 32 + 128
