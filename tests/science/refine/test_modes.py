"""Several probe modes: partially coherent light is understood, and its modes are those of the beam."""

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.model import exit_waves, far_field, magnitude
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.refine.modes import Modes, first_modes, mixture, orthogonal
from camlink.compute.ptychography.shift import Shifts

SOURCE_PX = 2.0


def partially_coherent(scene, angle=0.3):
    """The scene lit by a line of incoherent points, each of which moves the beam; its modes, strongest first."""
    s = scene(photons=1e6)
    at = np.linspace(-2.5, 2.5, 11)
    power = np.exp(-at**2 / 2)
    moved = Shifts(1, s.frame, s.probe).moved(np.repeat(s.probe[None], len(at), 0),
                                              SOURCE_PX * at[:, None] * [[np.sin(angle), np.cos(angle)]])[:, 0]
    one = s.probe
    s.probe = orthogonal(moved, np.diag(power / power.sum())).astype(np.complex64)
    return s, one


def reconstructed(engine, iterations=70):
    for done in range(iterations):
        engine.iterate(raar(0.75) if done < iterations - 5 else ap(), refine_probe=done >= 4)
    return engine


def common(one, other):
    """Cosines of the angles between two spans of modes."""
    bases = [np.linalg.qr(modes.reshape(len(modes), -1).T)[0] for modes in (one, other)]
    return np.linalg.svd(bases[0].conj().T @ bases[1])[1]


@pytest.mark.slow
def test_modes_halve_the_error_and_are_those_of_the_beam(scene):
    s, one = partially_coherent(scene)
    amplitude = s.amplitude()
    errors = {}
    for count in (1, 3):
        engine = reconstructed(s.engine(amplitude, probe=first_modes(one, count), refinements=[Modes()]))
        errors[count] = s.error(engine.evidence())
    assert errors[3] < 0.55 * errors[1]
    assert common(s.probe[:2], engine.probe).min() > 0.93
    power = (np.abs(engine.probe) ** 2).sum(axis=(1, 2)) / s.power
    truth = (np.abs(s.probe) ** 2).sum(axis=(1, 2)) / s.power
    np.testing.assert_allclose(power, truth[:3], atol=0.08)


def test_the_fit_finds_the_mixture_itself(scene):
    s, _ = partially_coherent(scene)
    s.probe = s.probe[:2]
    engine = s.engine(s.amplitude(noise=False), image=s.truth)
    turned = np.tensordot(np.array([[1, 1], [1j, -1j]]) / np.sqrt(2), s.probe, 1).astype(np.complex64)
    modes = orthogonal(turned, mixture(engine, turned))
    power = (np.abs(s.probe) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose((np.abs(modes) ** 2).sum(axis=(1, 2)), power, rtol=1e-3)
    assert common(modes[:1], s.probe[:1]).min() > 0.999


def test_orthogonal_modes_give_the_same_counts():
    rng = np.random.default_rng(2)
    fields = rng.standard_normal((3, 8, 8)) + 1j * rng.standard_normal((3, 8, 8))
    image = np.exp(1j * rng.random((10, 10)))
    corners = np.array([[0, 0], [2, 1]])
    modes = orthogonal(fields, np.eye(3))
    gram = modes.reshape(3, -1).conj() @ modes.reshape(3, -1).T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    assert (np.diff(np.diag(gram).real) <= 0).all()
    np.testing.assert_allclose(magnitude(far_field(exit_waves(modes, image, corners))),
                               magnitude(far_field(exit_waves(fields, image, corners))), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_a_coherent_beam_stays_coherent(scene, count):
    s = scene(photons=1e6)
    engine = reconstructed(s.engine(s.amplitude(), probe=first_modes(s.probe, count), refinements=[Modes()]), 30)
    assert (np.abs(engine.probe[0]) ** 2).sum() > 0.98 * s.power
    assert s.error(engine.evidence()) < 0.02


def test_the_operator_gives_orthogonal_modes(simulate_scan):
    s = simulate_scan(size=64, side=6, step=5, photons=1e6)
    work = Reconstruction(s.scan, SolveParameters(modes=2))
    work.absorb(s.block(range(len(s.counts))))
    work.begin()
    for _ in range(20):
        work.advance(raar(0.75))
    modes = work.arrays()["probe"]
    assert modes.shape == (2, 64, 64)
    one, other = (mode.astype(complex) for mode in modes)
    assert abs(np.vdot(one, other)) < 1e-5 * np.vdot(one, one).real
    assert np.vdot(one, one).real > np.vdot(other, other).real
