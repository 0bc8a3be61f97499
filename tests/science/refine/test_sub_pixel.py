"""Positions at fractions of a pixel: a finer table of probes gives a smaller error, and whole pixels cost nothing."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.model import exit_waves


def reconstructed(engine, iterations=25):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=done >= 10)
    return engine


def test_eighths_of_a_pixel_are_clearly_better_than_whole_ones(scene):
    s = scene(photons=1e6).fractional()
    amplitude = s.amplitude()
    error = {steps: s.error(reconstructed(s.engine(amplitude, fractions=steps)).evidence()) for steps in (1, 2, 8)}
    assert error[8] < 0.65 * error[1]
    assert error[8] < error[2] < error[1]


def test_the_truth_stays_at_every_fraction(scene):
    s = scene(photons=1e5)
    s.corners += s.rng.integers(-4, 4, s.corners.shape) / 8
    engine = s.engine(s.amplitude(noise=False), fractions=8, image=s.truth)
    assert engine.fourier_error() < 1e-5
    for _ in range(5):
        engine.iterate(raar(0.9), refine_probe=True)
    assert engine.fourier_error() < 1e-4


def test_whole_pixels_need_no_table(scene):
    s = scene(photons=1e5)
    amplitude = s.amplitude()
    fine, plain = s.engine(amplitude, fractions=8), s.engine(amplitude)
    for engine in (fine, plain):
        engine.iterate(raar(0.9), refine_probe=True)
    assert len(fine.estimate.probes) == 1
    np.testing.assert_array_equal(fine.image, plain.image)


@pytest.mark.parametrize("steps", [1, 8])
def test_waves_follow_a_frame_that_moves(scene, steps):
    """Also over the border of a pixel, where corner and fraction jump and their sum does not."""
    s = scene(photons=1e5).fractional()
    engine = s.engine(s.amplitude(), fractions=steps, image=s.truth)
    engine.place(np.arange(engine.active), s.corners + 0.3)
    part, probes = engine.frames, engine.estimate.probes
    model = exit_waves(probes[part.shifts], s.truth, part.corners)
    gap = np.linalg.norm(part.waves - model) / np.linalg.norm(model)
    engine.place(np.arange(engine.active), s.corners)
    back = exit_waves(probes[engine.frames.shifts], s.truth, engine.frames.corners)
    assert gap < 0.35  # that the object under the frame is another one
    np.testing.assert_allclose(engine.frames.waves, back, atol=1e-4 * np.abs(back).max())
