"""What is known of an object makes it better, and what nobody knows is kept calm."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.refine.edges import Edges
from camlink.compute.ptychography.refine.limits import Limits

IMAGES = np.array([[2j, -0.5, 0], [1 + 1j, 0.1, -3]], np.complex64)


def reconstructed(engine, iterations=30):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


@pytest.mark.parametrize(("kind", "part"), [("phase", 0.95), ("real", 0.85)])
def test_a_known_kind_lessens_the_error(scene, kind, part):
    s = scene(photons=1e4)
    s.truth = (np.exp(1j * np.angle(s.truth)) if kind == "phase" else np.abs(s.truth)).astype(np.complex64)
    amplitude = s.amplitude()
    image = np.ones_like(s.truth)
    free = reconstructed(s.engine(amplitude, image=image))
    known = reconstructed(s.engine(amplitude, image=image, object_steps=[Limits(kind)]))
    assert s.error(known.image) < part * s.error(free.image)
    assert (np.abs(np.abs(known.image) - 1) < 1e-5).all() if kind == "phase" else not known.image.imag.any()


@pytest.mark.slow
def test_bounds_of_the_transmission_hold(scene):
    s = scene(photons=1e4)
    engine = reconstructed(s.engine(s.amplitude(), object_steps=[Limits(least=0.5, most=1.0)]))
    size = np.abs(engine.image)
    assert size.min() > 0.5 - 1e-5
    assert size.max() < 1 + 1e-5
    free = reconstructed(s.engine(s.amplitude()))
    assert s.error(engine.image) < s.error(free.image)


def test_limits_take_the_nearest_object():
    weight = np.ones(IMAGES.shape)
    np.testing.assert_allclose(np.abs(Limits("phase").apply(IMAGES, weight)), 1, rtol=1e-6)
    np.testing.assert_allclose(Limits("phase").apply(IMAGES, weight)[0], [1j, -1, 1], atol=1e-6)
    np.testing.assert_array_equal(Limits("real").apply(IMAGES, weight), IMAGES.real)
    np.testing.assert_allclose(Limits(least=0.2, most=1.0).apply(IMAGES, weight)[0], [1j, -0.5, 0.2], atol=1e-6)
    np.testing.assert_array_equal(Limits().apply(IMAGES, weight), IMAGES)
    assert Limits("phase").apply(IMAGES, weight).dtype == IMAGES.dtype


@pytest.mark.slow
def test_pixels_with_hardly_any_light_stay_calm(scene):
    """Without edges they grow with the iterations, and with them the picture is as good where the light is."""
    s = scene(photons=1e4)
    amplitude = s.amplitude()
    engines = [s.engine(amplitude, object_steps=steps) for steps in ([], [Edges()])]
    for done in range(60):
        for engine in engines:
            engine.iterate(raar(0.9), refine_probe=done >= 4)
    dim = engines[0].coverage < 1e-3 * engines[0].coverage.max()
    assert 0.1 < dim.mean() < 0.9
    wild, calm = (np.abs(engine.image[dim]).max() for engine in engines)
    assert calm < 1.5 < wild < 4
    assert all(np.isfinite(engine.evidence()).all() for engine in engines)
    assert s.error(engines[1].evidence()) < 1.05 * s.error(engines[0].evidence())


def test_edges_leave_an_even_object_and_stay_finite_in_the_dark():
    np.testing.assert_allclose(Edges().apply(IMAGES, np.zeros(IMAGES.shape)), 0, atol=1e-6)
    image = np.full((4, 4), 0.5 + 0.5j)
    np.testing.assert_allclose(Edges().apply(image, np.eye(4)), image)
