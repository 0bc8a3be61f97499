"""Light that did not pass the sample: a known background comes back, and none stays none."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.refine.background import Background, intercept


def reconstructed(engine, iterations=60):
    for done in range(iterations):
        beta = 0.9 if done < iterations // 2 else 0.75
        engine.iterate(raar(beta) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


def shape(scene, part):
    """A background that varies over the detector, `part` of the mean counts."""
    y, x = (np.mgrid[:scene.frame[0], :scene.frame[1]] / scene.frame[0])
    even = 1 + 0.5 * np.sin(6 * x) + 0.3 * y
    return np.fft.ifftshift(even / even.mean() * part * 0.75 * scene.power / even.size)


def plain(engine):
    """The background with zero frequency at [0, 0]."""
    places = np.arange(engine.background.size).reshape(1, *engine.background.shape)
    found = np.empty(engine.background.size)
    found[engine.kernel.arrange(places).ravel().astype(int)] = engine.background.ravel()
    return found.reshape(engine.background.shape)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "within"), [(0.0, 0.0), (0.001, 0.25), (0.01, 0.15), (0.1, 0.15)])
def test_a_known_background_comes_back(scene, part, within):
    """In the mean over the pixels outside of the pupil; a bright one tells only what its noise leaves."""
    s = scene(photons=1e6)
    background = shape(s, part)
    amplitude = s.amplitude(background=background)
    mean = (amplitude**2).mean(axis=0)
    dark = mean < mean.mean()
    engine = reconstructed(s.engine(amplitude, refinements=[Background()]))
    found = plain(engine)
    assert found[dark].mean() == pytest.approx(background[dark].mean(), rel=within, abs=4e-4 * float(mean.mean()))
    noise = np.sqrt((mean + 1) / len(amplitude))
    assert np.sqrt((((found - background) / noise)[dark] ** 2).mean()) < 3.5
    if part >= 0.01:
        assert np.corrcoef(found[dark], background[dark])[0, 1] > 0.8
        without = reconstructed(s.engine(amplitude))
        assert s.error(engine.evidence()) < 0.7 * s.error(without.evidence())


def test_the_line_meets_no_light_at_the_background():
    rng = np.random.default_rng(1)
    light, weight = rng.random((50, 3, 3)) * 10, rng.random((50, 3, 3))
    weight[:, 2, 2] = 0
    counts = light + 0.7
    sums = [(weight * term).sum(axis=0) for term in (1, light, counts, light**2, light * counts)]
    found = intercept(*sums)
    assert found[2, 2] == 0
    np.testing.assert_allclose(found[:2], 0.7, atol=1e-9)
    weak = intercept(*[(weight * term).sum(axis=0) for term in (1, light, 0.5 * light, light**2, 0.5 * light**2)])
    np.testing.assert_array_equal(weak, 0)
