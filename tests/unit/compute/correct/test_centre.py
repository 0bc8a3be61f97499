import numpy as np
import pytest

from camlink.compute.correct.centre import Centre, symmetry_centre

SHAPE = (96, 80)


def annulus(centre: tuple[float, float], outer: float = 18, inner: float = 7) -> np.ndarray:
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    radius = np.hypot(y - centre[0], x - centre[1])
    return (100 / (1 + np.exp(radius - outer)) / (1 + np.exp(inner - radius))).astype(np.float32)


@pytest.mark.parametrize("centre", [(48.0, 40.0), (41.25, 52.5), (60.7, 33.1)])
def test_the_centre_of_an_annulus_is_found_to_a_small_part_of_a_pixel(centre):
    found = symmetry_centre(annulus(centre))
    np.testing.assert_allclose(found, centre, atol=0.15)


def test_hot_pixels_noise_and_a_lopsided_sample_do_not_move_it():
    rng = np.random.default_rng(5)
    centre = (44.0, 37.0)
    y = np.arange(SHAPE[0])[:, None]
    pattern = annulus(centre) * (1 + 0.4 * (y > centre[0])) * rng.uniform(0.7, 1.3, SHAPE)
    pattern[3, 5:10] = 1e6
    pattern = rng.poisson(pattern).astype(np.float32)
    mass = (pattern * y)[20:].sum() / pattern[20:].sum()
    assert abs(mass - centre[0]) > 0.5
    np.testing.assert_allclose(symmetry_centre(pattern), centre, atol=0.5)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_no_light_has_no_centre(value):
    assert symmetry_centre(np.full(SHAPE, value, dtype=np.float32)) is None


def test_missing_samples_take_no_part_in_the_mean_pattern():
    centring = Centre(SHAPE, 3)
    images = np.repeat(annulus((50, 30))[None], 3, axis=0)
    images[0, :48] = np.nan
    images[1, 40:60] = np.nan
    centring.add(images)
    assert centring.settled
    np.testing.assert_allclose(centring.estimate(), (50, 30), atol=0.1)


def test_a_frame_that_lost_most_of_its_pixels_does_not_count():
    centring = Centre(SHAPE, 1)
    centring.add(np.full((2, *SHAPE), np.nan, dtype=np.float32))
    assert not centring.settled
    assert centring.estimate() is None
