import numpy as np
import pytest
from correction_steps import cut

from camlink.compute.correct import crop


def smooth(size: int = 96, n: int = 2, width: float = 9.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    blob = np.exp(-(y**2 + 0.5 * x**2 - 0.3 * x * y) / width**2)
    return (np.arange(1, n + 1)[:, None, None] * 500 * blob).astype(np.float32)


@pytest.mark.parametrize("method", ["fourier", "bin"])
@pytest.mark.parametrize("shape", [48, 32, 24])
def test_counts_are_conserved(method, shape):
    images = np.random.default_rng(0).poisson(3, (3, 96, 96)).astype(np.float32)
    np.testing.assert_allclose(crop.reduce(images, shape, method).sum(axis=(1, 2)), images.sum(axis=(1, 2)), rtol=1e-5)


def test_fourier_samples_a_band_limited_pattern_at_the_output_pixels():
    images = smooth()
    np.testing.assert_allclose(crop.reduce(images, 32, "fourier"), 9 * images[:, ::3, ::3], atol=0.05)


def test_fourier_equals_binning_for_smooth_patterns():
    images = smooth(width=24)
    binned = crop.reduce(np.roll(images, (1, 1), axis=(1, 2)), 32, "bin")  # cells of three about their sampling point
    np.testing.assert_allclose(crop.reduce(images, 32, "fourier"), binned, atol=0.01 * binned.max())


def test_equal_shapes_are_left_as_they_are():
    images = smooth()
    assert crop.reduce(images, 96, "fourier") is images


@pytest.mark.parametrize("method", ["fourier", "bin"])
def test_masked_cells_stay_masked_and_single_gaps_are_bridged(method):
    images = smooth(width=30)
    whole = crop.reduce(images, 48, method)
    images[0, 50, 51] = np.nan
    images[0, 20:30, 40:60] = np.nan
    reduced = crop.reduce(images, 48, method)
    masked = np.isnan(reduced[0])
    assert masked[11:14, 21:29].all()
    assert masked.sum() <= 60
    assert np.isfinite(reduced[1]).all()
    np.testing.assert_allclose(reduced[0, 23:28, 23:28], whole[0, 23:28, 23:28], rtol=0.02)


@pytest.mark.parametrize("method", ["fourier", "bin"])
def test_a_frame_without_any_value_stays_without(method):
    images = np.full((1, 24, 24), np.nan, dtype=np.float32)
    assert np.isnan(crop.reduce(images, 8, method)).all()


def test_fill_bridges_between_its_neighbours_and_keeps_what_is_valid():
    images = smooth(33, n=1)
    gaps = images.copy()
    gaps[0, 10:14, 12:18] = np.nan
    filled = crop.fill(gaps)
    valid = np.isfinite(gaps)
    np.testing.assert_array_equal(filled[valid], images[valid])
    near = images[0, 8:16, 10:20]
    assert near.min() <= filled[~valid].min() <= filled[~valid].max() <= near.max()


def test_fill_gives_back_whole_images_without_a_copy():
    images = smooth(16)
    assert crop.fill(images) is images


@pytest.mark.parametrize(("method", "factor"), [("fourier", 2), ("fourier", 3), ("bin", 1), ("bin", 3), ("bin", 5)])
def test_the_centre_lands_on_the_zero_frequency_pixel(method, factor):
    image = np.zeros((1, 200, 200), dtype=np.float32)
    image[0, 90, 107] = 1
    size = 16 * factor
    window = cut(image, crop.corner((90, 107), size, 16, method), size)
    reduced = crop.reduce(window, 16, method)
    assert np.unravel_index(reduced[0].argmax(), (16, 16)) == (8, 8)


def test_a_centre_near_a_whole_pixel_always_gives_the_same_window():
    for method in ("fourier", "bin"):
        for centre in ((90.1, 41.3), (89.9, 40.7), (90.0, 41.0)):
            assert crop.corner(centre, 32, 16, method) == (74, 25)
