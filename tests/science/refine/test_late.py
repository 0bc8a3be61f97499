"""Late corrections of a position or of a frame are taken between two iterations; the end is that of right values."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar

pytestmark = pytest.mark.slow


def went_on(engine, iterations=50):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=engine.iteration >= 4)
    return engine


@pytest.mark.parametrize("steps", [1, 8])
def test_positions_that_come_late(scene, steps):
    s = scene(photons=1e6)
    if steps > 1:
        s.fractional()
    amplitude = s.amplitude()
    right = s.error(went_on(went_on(s.engine(amplitude, fractions=steps), 20)).evidence())
    told, late = s.corners.copy(), np.arange(0, len(amplitude), 5)
    told[late] = np.clip(told[late] + s.rng.uniform(-9, 9, (len(late), 2)), 0, np.subtract(s.truth.shape, s.frame))
    engine = went_on(s.engine(amplitude, corners=told, fractions=steps), 20)
    wrong = s.error(engine.evidence())
    assert engine.move(np.append(late, 9999), np.concatenate([s.corners[late], [[0, 0]]])) == 1
    np.testing.assert_array_equal(engine.slots.corners, s.corners)
    end = s.error(went_on(engine).evidence())
    assert wrong > 3 * right
    assert end < 1.05 * right


def test_a_dark_that_comes_late(scene):
    s = scene(photons=1e6)
    amplitude = s.amplitude()
    right = s.error(went_on(went_on(s.engine(amplitude), 20)).evidence())
    engine = went_on(s.engine(np.sqrt(amplitude**2 + 40).astype(np.float32)), 20)
    wrong = s.error(engine.evidence())
    for some in np.array_split(np.arange(len(amplitude)), 5):
        assert engine.put(some, amplitude[some], s.corners[some], np.ones(len(some), np.float32)) == 0
    assert engine.active == len(amplitude)
    assert wrong > 2 * right
    assert s.error(went_on(engine).evidence()) < 1.05 * right


def test_a_frame_that_is_taken_back(scene):
    """Weight 0 by a second `put` is as if it had never come."""
    s = scene(photons=1e6)
    amplitude = s.amplitude()
    spoilt = amplitude.copy()
    spoilt[3] = s.rng.random(s.frame) * amplitude.max()
    engine = went_on(s.engine(spoilt), 10)
    engine.put(np.array([3]), amplitude[3:4], s.corners[3:4], np.zeros(1, np.float32))
    absent = s.engine(amplitude, put=False)
    rest = np.delete(np.arange(len(amplitude)), 3)
    absent.put(rest, amplitude[rest], s.corners[rest], np.ones(len(rest), np.float32))
    assert s.error(went_on(engine).evidence()) < 1.05 * s.error(went_on(went_on(absent, 10)).evidence())
