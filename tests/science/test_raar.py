"""RAAR against its definition: the reflector form, fixed points, contraction, masks, weights and degenerate input."""

import numpy as np
import pytest

from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.algorithm import ap, dm, raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.model import MASKED, exit_waves, far_field, impose, scatter, windows
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.propagator import FAR_FIELD
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Slots

DOUBLE = np.dtype(np.float64)


class Problem:
    """A small consistent problem in double precision, and its projectors coded directly."""

    def __init__(self, size=16, side=5, step=3, seed=3):
        self.rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(*[np.arange(side) * step] * 2, indexing="ij"), -1).reshape(-1, 2)
        self.corners = grid + self.rng.integers(0, 2, grid.shape)
        self.shape = tuple(int(extent) for extent in self.corners.max(axis=0) + size)
        y, x = np.mgrid[:size, :size] - size / 2
        self.probe = (np.exp(-(y**2 + x**2) / 18 + 0.08j * (y**2 + x**2)) * 10)[None]
        self.truth = (0.8 + 0.2 * self.rng.random(self.shape)) * np.exp(0.7j * self.rng.random(self.shape))
        self.waves = exit_waves(self.probe, self.truth, self.corners)
        self.amplitude = np.abs(far_field(self.waves))[:, 0]
        self.frame = (size, size)

    def random(self, *shape):
        return self.rng.standard_normal(shape) + 1j * self.rng.standard_normal(shape)

    def data(self, z):
        return impose(z, self.amplitude, DataTerm())

    def image(self, z, weights=None):
        weights = np.ones(len(z)) if weights is None else weights
        parts = (np.conj(self.probe) * z).sum(axis=1) * weights[:, None, None]
        total = scatter(parts, self.corners, self.shape)
        power = scatter(np.repeat((np.abs(self.probe) ** 2).sum(axis=0)[None], len(z), 0) * weights[:, None, None],
                        self.corners, self.shape)
        return np.where(power > 0, total / np.where(power > 0, power, 1), 0)

    def overlap(self, z):
        return exit_waves(self.probe, self.image(z), self.corners)

    def engine(self, waves=None, weights=None, image=None):
        count = len(self.corners)
        geometry = Geometry(self.frame, self.shape, (1.0, 1.0), (0.0, 0.0), 0)
        slots = Slots(count, 1, self.frame, DOUBLE)
        power = float((np.abs(self.probe) ** 2).sum())
        engine = Engine(geometry, slots, ReferenceKernel(chunk=7), probe=self.probe,
                        image=np.ones(self.shape, complex) if image is None else image,
                        constraints=Constraints(None, power))
        engine.put(np.arange(count), self.amplitude, self.corners, np.ones(count) if weights is None else weights)
        if waves is not None:
            slots.active.waves[...] = waves
            engine.image = self.image(waves, weights)
        return engine, slots


@pytest.fixture
def problem(monkeypatch):
    monkeypatch.setattr("camlink.compute.ptychography.engine.IMAGE_DAMPING", 0.0)
    return Problem()


def gap(one, other):
    return float(np.abs(one - other).max() / np.abs(other).max())


@pytest.mark.parametrize("beta", [0.6, 0.75, 0.9, 1.0])
def test_one_step_is_the_reflector_form(problem, beta):
    z = problem.random(*problem.waves.shape)
    engine, slots = problem.engine(waves=z)
    engine.iterate(raar(beta))
    reflected = 2 * problem.overlap(z) - z
    expected = beta / 2 * (2 * problem.data(reflected) - reflected + z) + (1 - beta) * problem.overlap(z)
    assert gap(slots.active.waves, expected) < 1e-12


def test_noise_on_the_truth_shrinks_tenfold_in_twenty_steps(problem):
    z = problem.waves + 1e-3 * np.abs(problem.waves).mean() * problem.random(*problem.waves.shape)
    engine, _ = problem.engine(waves=z)
    before = engine.fourier_error()
    for _ in range(20):
        engine.iterate(raar(0.75))
    assert engine.fourier_error() < before / 10


@pytest.mark.parametrize("blend", [raar(0.75), raar(0.9), dm(), ap()])
def test_the_truth_stays(problem, blend):
    engine, slots = problem.engine(waves=problem.waves)
    for _ in range(5):
        engine.iterate(blend)
    assert gap(slots.active.waves, problem.waves) < 1e-12


def test_the_state_of_noisy_data_keeps_its_gap_at_the_fixed_point(problem):
    """Data inside at beta 0.6: with e = P_a f, P_o f = P_o e and f = e + beta/(1 - beta) (P_o e - e)."""
    beta = 0.6
    problem.amplitude[...] = np.sqrt(problem.rng.poisson(1e3 * problem.amplitude**2) / 1e3)
    f = problem.waves
    for _ in range(2000):
        data = problem.data(f)
        new = 2 * beta * problem.overlap(data) + (1 - 2 * beta) * data + beta * (f - problem.overlap(f))
        still, f = gap(new, f) < 1e-13, new
        if still:
            break
    e = problem.data(f)
    model = problem.overlap(e)
    assert gap(problem.overlap(f), model) < 1e-9
    assert gap(f, e + beta / (1 - beta) * (model - e)) < 1e-9
    assert gap(f, e) > 1e-4  # so object and residual are taken from e, not from the state


@pytest.mark.parametrize("damping", [0.0, 1e-2])
def test_one_array_form_is_the_full_formula_for_twenty_steps(problem, monkeypatch, damping):
    monkeypatch.setattr("camlink.compute.ptychography.engine.IMAGE_DAMPING", damping)
    z = problem.random(*problem.waves.shape)
    engine, slots = problem.engine(waves=z)
    image, power = engine.image, engine.coverage
    for _ in range(20):
        engine.iterate(raar(0.9))
        model = exit_waves(problem.probe, image, problem.corners)
        z = 0.9 * (z + problem.data(2 * model - z)) + (1 - 2 * 0.9) * model
        total = scatter((np.conj(problem.probe) * z).sum(axis=1), problem.corners, problem.shape)
        image = overlap.divide(total, power, image, damping)
    assert gap(slots.active.waves, z) < (1e-10 if damping else 1e-6)  # without, rounding rules where no light falls


def test_family_reproduces_alternating_projections_and_the_difference_map(problem):
    z = problem.random(*problem.waves.shape)
    model = problem.overlap(z)
    direct = {"ap": problem.data(model), "dm": z + problem.data(2 * model - z) - model}
    for name, blend in (("ap", ap()), ("dm", dm())):
        engine, slots = problem.engine(waves=z)
        engine.iterate(blend)
        assert gap(slots.active.waves, direct[name]) < 1e-12, name


def test_projectors_are_idempotent_and_the_overlap_is_linear(problem):
    one, other = (problem.random(*problem.waves.shape) for _ in range(2))
    assert gap(problem.data(problem.data(one)), problem.data(one)) < 1e-12
    assert gap(problem.overlap(problem.overlap(one)), problem.overlap(one)) < 1e-12
    mixed = problem.overlap(2j * one - 3 * other)
    assert gap(mixed, 2j * problem.overlap(one) - 3 * problem.overlap(other)) < 1e-12
    assert gap(problem.overlap(problem.waves), problem.waves) < 1e-12


def test_gather_and_scatter_are_adjoint(problem):
    image, frames = problem.random(*problem.shape), problem.random(len(problem.corners), *problem.frame)
    left = np.vdot(windows(image, problem.corners, problem.frame), frames)
    right = np.vdot(image, scatter(frames, problem.corners, problem.shape))
    assert abs(left - right) < 1e-12 * abs(left)


def test_far_field_is_unitary(problem):
    one, other = (problem.random(3, 1, *problem.frame) for _ in range(2))
    left, right = np.vdot(far_field(one), other), np.vdot(one, FAR_FIELD.adjoint(other))
    assert abs(left - right) < 1e-12 * np.linalg.norm(one) * np.linalg.norm(other)
    assert np.linalg.norm(far_field(one)) == pytest.approx(np.linalg.norm(one), rel=1e-12)


def test_weight_zero_is_an_absent_frame(problem):
    weights = np.ones(len(problem.corners))
    weights[[2, 7, 11]] = 0
    with_zeros, _ = problem.engine(weights=weights)
    with_zeros.iterate(raar(0.9))
    with_zeros.iterate(raar(0.9))
    keep = weights > 0
    fewer = Problem()
    fewer.corners, fewer.amplitude = problem.corners[keep], problem.amplitude[keep]
    without, _ = fewer.engine()
    without.iterate(raar(0.9))
    without.iterate(raar(0.9))
    assert gap(with_zeros.image, without.image) < 1e-12


def test_pixels_under_the_mask_have_no_effect(problem):
    results = []
    problem.amplitude[:, 3:6, 4:9] = MASKED
    for _ in range(2):
        engine, _ = problem.engine()
        for _ in range(3):
            engine.iterate(raar(0.9))
        results.append((engine.image, engine.fourier_error()))
        problem.amplitude[:, 3:6, 4:9] = -7.0
    assert gap(results[0][0], results[1][0]) == 0
    assert results[0][1] == results[1][1] < 1


def test_masked_data_still_lead_to_the_truth(problem):
    problem.amplitude[:, 2:4, 2:4] = MASKED
    engine, _ = problem.engine(waves=problem.waves + 0.05 * problem.random(*problem.waves.shape))
    for _ in range(100):
        engine.iterate(raar(0.75))
    assert engine.fourier_error() < 1e-3


@pytest.mark.parametrize("chunk", [1, 2, 7, 25])
def test_chunks_do_not_change_the_result(problem, chunk):
    whole, _ = problem.engine()
    split, _ = problem.engine()
    split.kernel = ReferenceKernel(chunk=chunk)
    for engine in (whole, split):
        engine.iterate(raar(0.9), refine_probe=True)
    assert gap(split.image, whole.image) < 1e-12
    assert gap(split.probe, whole.probe) < 1e-12


def test_two_modes_share_the_intensity(problem):
    second = 0.3 * np.roll(problem.probe, 4, axis=-1) * 1j
    probe = np.concatenate([problem.probe, second])
    waves = exit_waves(probe, problem.truth, problem.corners)
    amplitude = np.sqrt((np.abs(far_field(waves)) ** 2).sum(axis=1))
    assert gap(impose(waves, amplitude, DataTerm()), waves) < 1e-12
    shrunk = impose(3 * waves, amplitude, DataTerm())
    assert gap(shrunk, waves) < 1e-12
