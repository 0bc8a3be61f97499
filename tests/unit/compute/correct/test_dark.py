import numpy as np
import pytest

from camlink.compute.correct.dark import Dark, Darks, bad_pixels

SHAPE = (40, 50)


def noise(n: int, seed: int = 0, sigma: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, sigma, (n, *SHAPE)).astype(np.float32)


def test_running_mean_and_deviation_equal_those_of_all_frames():
    images = noise(9)
    images[2, 3, 4] = np.nan
    dark = Dark(SHAPE)
    for part in (images[:1], images[1:6], images[6:]):
        dark.add(part)
    np.testing.assert_allclose(dark.mean, np.nanmean(images, axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dark.deviation, np.nanstd(images, axis=0, ddof=1), rtol=1e-3)
    assert dark.frames == 9


def test_hot_dead_and_noisy_pixels_are_found_and_no_good_one():
    images = noise(16)
    images[:, 1, 2] += 500
    images[:, 3, 4] = 10
    images[:, 5, 6] = 10 + np.random.default_rng(1).normal(0, 200, 16)
    dark = Dark(SHAPE)
    dark.add(images)
    found = np.argwhere(np.isnan(dark.field(8).level))
    assert {tuple(place) for place in found} == {(1, 2), (3, 4), (5, 6)}
    assert dark.field(8).bad == 3


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 20])
def test_good_pixels_are_not_called_bad_however_few_the_frames(frames):
    dark = Dark((200, 200))
    dark.add(np.random.default_rng(frames).normal(0, 4, (frames, 200, 200)).astype(np.float32))
    assert dark.field(8).bad == 0


def test_a_quiet_camera_that_repeats_a_number_is_not_dead():
    still = np.zeros(SHAPE, dtype=np.float32)
    assert not bad_pixels(still + 7, still, 20, 8).any()


def test_a_single_dark_frame_is_its_own_mean():
    image = noise(1)
    dark = Dark(SHAPE)
    dark.add(image)
    np.testing.assert_array_equal(dark.field(8).level, image[0])


def test_a_pixel_lost_in_every_dark_frame_takes_the_median_and_is_not_bad():
    images = noise(4)
    images[:, 0, :7] = np.nan
    dark = Dark(SHAPE)
    dark.add(images)
    field = dark.field(8)
    np.testing.assert_allclose(field.level[0, :7], np.median(dark.mean[np.isfinite(dark.mean)]))
    assert field.bad == 0


def test_dark_frames_without_any_value_give_a_zero_field():
    dark = Dark(SHAPE)
    dark.add(np.full((2, *SHAPE), np.nan, dtype=np.float32))
    assert not dark.field(8).level.any()


def test_the_field_of_the_nearest_dwell_is_given():
    darks = Darks(SHAPE, 8)
    darks.add(np.full((2, *SHAPE), 1, dtype=np.float32), 0.01)
    darks.add(np.full((3, *SHAPE), 5, dtype=np.float32), 0.1)
    darks.freeze()
    assert darks.frames == 5
    assert darks.field(0.012).level[0, 0] == 1
    assert darks.field(0.1).level[0, 0] == 5
    assert darks.field(0.1).frames == 3


def test_darks_stay_open_while_there_is_none():
    darks = Darks(SHAPE, 8)
    darks.freeze()
    assert not darks.frozen
    assert not darks.field(1.0).level.any()
    darks.add(noise(1), 1.0)
    darks.freeze()
    assert darks.frozen


def test_dwells_beyond_the_bound_join_the_nearest():
    darks = Darks(SHAPE, 8)
    for k in range(12):
        darks.add(noise(1, seed=k), float(k))
    darks.freeze()
    assert darks.frames == 12
    assert darks.field(20.0).frames == 5
