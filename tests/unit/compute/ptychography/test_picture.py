"""What no data tell is taken out of the picture, and nothing else."""

import numpy as np

from camlink.compute.ptychography.model import exit_waves, far_field, magnitude
from camlink.compute.ptychography.picture import flattened, free_phase, ramp, turned

rng = np.random.default_rng(3)
IMAGE = np.exp(1j * rng.random((20, 22)))
PROBE = rng.standard_normal((2, 8, 8)) + 1j * rng.standard_normal((2, 8, 8))
CORNERS = np.array([[0, 0], [3, 7], [12, 14]])


def frames(image, probe):
    return magnitude(far_field(exit_waves(probe, image, CORNERS)))


def test_flattening_changes_no_frame():
    image, probe = flattened(IMAGE, PROBE, (0.137, -0.61))
    assert np.abs(image - IMAGE).max() > 0.5
    np.testing.assert_allclose(frames(image, probe), frames(IMAGE, PROBE), atol=1e-12)


def test_a_ramp_is_found_and_taken_away():
    y, x = np.mgrid[:20, :22]
    sloped = 1.7 * np.exp(1j * (0.3 * y - 0.2 * x + 1))
    weight = np.ones((20, 22))
    np.testing.assert_allclose(ramp(sloped, weight), (0.3, -0.2), atol=1e-12)
    flat, _ = flattened(sloped, PROBE, ramp(sloped, weight))
    np.testing.assert_allclose(np.angle(flat), 1, atol=1e-9)


def test_no_light_means_no_ramp():
    assert ramp(IMAGE, np.zeros(IMAGE.shape)) == (0.0, 0.0)


def test_turning_changes_no_frame_and_holds_the_phase():
    weight = np.ones(IMAGE.shape)
    image, probe = turned(IMAGE, PROBE, free_phase(IMAGE, 1j * IMAGE, weight))
    np.testing.assert_allclose(image, 1j * IMAGE, atol=1e-12)
    np.testing.assert_allclose(frames(image, probe), frames(IMAGE, PROBE), atol=1e-12)
