"""A beam whose intensity changes from frame to frame: the factors come back, and the error is that of a steady beam."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.refine.fit import affine_part as plane
from camlink.compute.ptychography.refine.gains import Gains


def reconstructed(engine, iterations=40):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


@pytest.mark.slow
@pytest.mark.parametrize(("photons", "within"), [(1e5, 0.01), (1e6, 0.003)])
def test_known_factors_come_back(scene, photons, within):
    s = scene(photons=photons)
    logs = 0.1 * s.rng.standard_normal(len(s.corners))
    factors = np.exp(logs - plane(s.corners, logs, np.ones(len(logs))))
    amplitude = s.amplitude(factors=factors)
    steady = s.error(reconstructed(s.engine(s.amplitude())).evidence())
    engine = reconstructed(s.engine(amplitude, refinements=[Gains()]))
    found = engine.frames.gains**-2.0
    ratio = np.log(found / factors)
    assert (ratio - plane(s.corners, ratio, np.ones(len(ratio)))).std() < within
    assert s.error(engine.evidence()) < 1.2 * steady


def test_an_exponential_over_the_positions_is_no_fluctuation(scene):
    s = scene(photons=1e6)
    engine = s.engine(s.amplitude(factors=np.exp(0.004 * s.corners[:, 0])), refinements=[Gains(every=1, start=1)])
    for _ in range(10):
        engine.iterate(raar(0.75))
    logs = np.log(engine.frames.gains)
    np.testing.assert_allclose(plane(s.corners, logs, np.ones(len(logs))), 0, atol=2e-3)


def test_dark_frames_keep_their_gain(scene):
    s = scene(photons=1e5)
    amplitude = s.amplitude()
    amplitude[3] = 0
    engine = s.engine(amplitude, refinements=[Gains(every=1, start=1)])
    engine.iterate(raar(0.75))
    assert engine.frames.gains[3] == 1
    assert np.isfinite(engine.frames.gains).all()
