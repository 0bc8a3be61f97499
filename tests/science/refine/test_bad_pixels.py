"""Pixels that tell nothing, and saturated ones that would tell a lie."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.model import MASKED
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.probe import Constraints, window
from camlink.compute.ptychography.reconstruction import Reconstruction

pytestmark = pytest.mark.slow  # most of a second each


def reconstructed(engine, iterations=40):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


def test_saturated_pixels_are_better_left_out(scene):
    s = scene(photons=1e6)
    counts = s.amplitude() ** 2
    level = np.quantile(counts[counts > 0], 0.95)
    full = counts >= level
    clipped = np.where(full, np.sqrt(level), np.sqrt(counts)).astype(np.float32)
    trusting = s.error(reconstructed(s.engine(clipped)).evidence())
    whole = s.error(reconstructed(s.engine(np.sqrt(counts))).evidence())
    careful = s.error(reconstructed(s.engine(np.where(full, np.float32(MASKED), clipped))).evidence())
    assert 0.005 < full.mean() < 0.03
    assert careful < 1.2 * whole
    assert careful < 0.5 * trusting


def test_dead_pixels_and_a_dead_frame_hardly_matter(scene):
    s = scene(photons=1e5)
    amplitude = s.amplitude()
    whole = s.error(reconstructed(s.engine(amplitude)).evidence())
    amplitude[:, s.rng.random(s.frame) < 0.02] = MASKED
    amplitude[7] = MASKED
    assert s.error(reconstructed(s.engine(amplitude)).evidence()) < 1.3 * whole


@pytest.mark.parametrize("saturated", [0.0, 150.0])
def test_the_operator_leaves_out_what_is_saturated(simulate_scan, saturated):
    s = simulate_scan(size=32, side=4, step=3, photons=1e4)
    work = Reconstruction(s.scan, SolveParameters(saturated_photon=saturated, kernel="reference"))
    work.absorb(s.block(range(len(s.counts))))
    work.begin()
    expected = int((s.counts >= saturated).sum()) if saturated else 0
    assert work.intake.counts["saturated_pixels"] == expected
    assert (work.engine.frames.amplitude < 0).sum() == expected


def test_the_window_of_the_probe_helps_with_few_photons(scene):
    """No beam reaches the corners of the window: what grows there is noise."""
    s = scene(photons=3e3)
    amplitude = s.amplitude()
    errors = [s.error(reconstructed(s.engine(amplitude, constraints=Constraints(None, s.power, inside))).evidence())
              for inside in (None, window(s.frame, 1.0))]
    assert errors[1] < errors[0]
