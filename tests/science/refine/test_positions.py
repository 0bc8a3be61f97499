"""Positions that are wrong by a pixel or two come back from the frames, and the error of the object follows."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.model import exit_waves
from camlink.compute.ptychography.refine.fit import affine_part
from camlink.compute.ptychography.refine.positions import Positions, displacements, gradient
from camlink.compute.ptychography.shift import Shifts


def reconstructed(engine, iterations=60):
    for done in range(iterations):
        beta = 0.9 if done < iterations // 2 else 0.75
        engine.iterate(raar(beta) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


def rms(displacement):
    return float(np.sqrt((displacement**2).sum(axis=1).mean()))


def disturbed(scene, amount):
    """Corners off by `amount` [pixel] rms, but for an affine map, on the grid."""
    off = scene.rng.standard_normal(scene.corners.shape) * amount / np.sqrt(2)
    most = np.subtract(scene.truth.shape, scene.frame)
    return np.clip(scene.corners + off - affine_part(scene.corners, off, np.ones(len(off))), 0, most)


@pytest.mark.slow
@pytest.mark.parametrize(("amount", "photons", "iterations"), [(1.0, 1e5, 60), (2.0, 1e6, 120)])
def test_disturbed_positions_come_back(scene, amount, photons, iterations):
    s = scene(photons=photons, side=9).fractional()
    amplitude, told = s.amplitude(), disturbed(s, amount)
    assert rms(told - s.corners) > 0.8 * amount
    right = s.error(reconstructed(s.engine(amplitude, fractions=8)).evidence())
    wrong = s.error(reconstructed(s.engine(amplitude, corners=told, fractions=8)).evidence())
    engine = reconstructed(s.engine(amplitude, corners=told, fractions=8, refinements=[Positions()]), iterations)
    assert rms(engine.slots.corners - s.corners) < 0.2
    assert s.error(engine.evidence()) < min(0.6 * wrong, 1.2 * right)
    np.testing.assert_array_equal(engine.slots.told, told)


def test_right_positions_stay(scene):
    s = scene(photons=1e6, side=6).fractional()
    engine = reconstructed(s.engine(s.amplitude(), fractions=8, image=s.truth, refinements=[Positions(start=1)]), 20)
    assert rms(engine.slots.corners - s.corners) < 0.1


@pytest.mark.parametrize("steps", [1, 8])
def test_the_system_of_a_frame_tells_its_displacement(scene, steps):
    """Waves of places that are off by a third of a pixel or less, against the object at the told ones."""
    s = scene(photons=1e6, side=5)
    off = s.rng.uniform(-0.25, 0.25, s.corners.shape)
    told = s.corners + (s.rng.integers(-4, 4, off.shape) / 8 if steps == 8 else 0)
    engine = s.engine(s.amplitude(), corners=told, fractions=steps, image=s.truth)
    turn = Shifts(1, s.frame, s.probe).moved
    probes = np.repeat(s.probe[None], len(told), 0)
    fraction = told - engine.frames.corners
    waves = exit_waves(turn(probes, fraction + off), s.truth, engine.frames.corners)
    engine.frames.waves[...] = turn(waves, -off)
    found = displacements(engine)
    assert rms(found - off) < 0.35 * rms(off)


def test_the_gradient_is_a_central_difference():
    y, x = np.mgrid[:8, :9].astype(complex)
    down, along = gradient(2 * y - 3j * x)
    np.testing.assert_allclose(down[1:-1], 2)
    np.testing.assert_allclose(along[:, 1:-1], -3j)


def test_without_a_gap_nothing_moves(scene):
    s = scene(photons=1e5, side=4)
    engine = s.engine(s.amplitude(), image=s.truth)
    np.testing.assert_allclose(displacements(engine), 0, atol=1e-4)


def test_after_a_sweep_the_data_tell_and_not_the_waves(scene):
    s = scene(photons=1e6, side=5)
    off = s.rng.uniform(-0.5, 0.5, s.corners.shape)
    told = s.corners.copy()
    s.corners = told + off
    engine = s.engine(s.amplitude(), corners=told, fractions=8, image=s.truth)
    engine.frames.waves[...] = 7
    engine.swept = True
    found = displacements(engine)
    assert (engine.frames.waves == 7).all()
    assert np.corrcoef(found.ravel(), off.ravel())[0, 1] > 0.95
    assert rms(found - off) < 0.7 * rms(off)
