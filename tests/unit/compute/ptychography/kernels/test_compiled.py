"""The compiled kernel against the reference kernel."""

from dataclasses import replace

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.kernels import choice
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.compiled import CompiledKernel, suits
from camlink.compute.ptychography.kernels.kernel import Estimate
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.model import MASKED
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Active
from camlink.errors import ParameterError

SINGLE = np.dtype(np.float32)


def problem(count, size, seed=0):
    rng = np.random.default_rng(seed)

    def field(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)

    amplitude = np.abs(field(count, size, size))
    amplitude[0, 3, 5] = MASKED
    amplitude[-1] = 0
    corners = rng.integers(0, 20, (count, 2))
    return amplitude, field(count, 1, size, size), corners, rng.random(count).astype(np.float32), field(
        1, size, size), field(size + 20, size + 24)


def gap(one, other):
    return np.abs(one - other).max() / np.abs(other).max()


@pytest.mark.parametrize(("size", "parts"), [
    (32, 1), (32, 2), (32, 3),  # each size compiles for seconds once; the passes themselves are tested for every size
    *[pytest.param(size, 2, marks=pytest.mark.slow) for size in (40, 64)],
    *[pytest.param(size, 2, marks=[pytest.mark.slow, pytest.mark.full]) for size in (143, 260)]])
@pytest.mark.parametrize("blend", [raar(0.9), ap()])
def test_one_step_agrees(size, parts, blend):
    amplitude, waves, corners, weights, probe, image = problem(5, size)
    assert_equal_steps(CompiledKernel(size, parts), Active.plain(amplitude, waves, corners, weights),
                       Estimate.plain(probe, image), Rule(blend))


@pytest.mark.parametrize("size", [32, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", [Rule(raar(0.9)), Rule(ap()), Rule(dm(), DataTerm("gaussian", 0.3)),
                                  Rule(raar(0.8), DataTerm("poisson", 0.3)), Rule(ap(), DataTerm("poisson", 2.0))])
@pytest.mark.parametrize(("modes", "shifts", "background"), [(1, 1, True), (3, 1, False), (2, 4, True), (1, 3, False)])
def test_every_option_agrees(size, rule, modes, shifts, background):
    amplitude, _, corners, weights, _, image = problem(6, size)
    rng = np.random.default_rng(1)

    def field(*shape):
        return (rng.standard_normal((*shape, size, size)) + 1j * rng.standard_normal((*shape, size, size))).astype(
            np.complex64)

    active = Active(amplitude, field(6, modes), corners, weights, (0.5 + rng.random(6)).astype(np.float32),
                    rng.integers(0, shifts, 6))
    scattered = 0.5 * rng.random((size, size)).astype(np.float32) if background else None
    assert_equal_steps(CompiledKernel(size, 2), active, Estimate(field(shifts, modes), image, scattered), rule)


def test_steps_that_forget_the_waves_do_not_read_them():
    amplitude, waves, corners, weights, probe, image = problem(3, 32)
    kernel = CompiledKernel(32, 2)
    waves[...] = np.nan
    active = Active.plain(kernel.arrange(amplitude), waves, corners, weights)
    sums = kernel.step(active, Estimate.plain(probe, image), Rule(ap()), probe_sum=True)
    assert all(np.isfinite(part).all() for part in (waves, sums.image, sums.probes))


def assert_equal_steps(kernel, active, estimate, rule):
    """`active` and `estimate` as measured, with and without sums of the probe."""
    results = []
    for tried in (ReferenceKernel(), kernel):
        arranged = replace(active, amplitude=tried.arrange(active.amplitude), waves=active.waves.copy())
        seen = estimate if estimate.background is None else replace(
            estimate, background=tried.arrange(estimate.background[None])[0])
        sums = tried.step(arranged, seen, rule, probe_sum=True)
        alone = tried.step(replace(arranged, waves=active.waves.copy()), seen, rule, probe_sum=False)
        assert alone.probes is None
        results.append((arranged.waves, sums.image, sums.probes, alone.image))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        assert gap(other, one) < 1e-5


@pytest.mark.parametrize("size", [32, 40, 260])
def test_arranging_only_permutes(size):
    amplitude = np.arange(2 * size * size, dtype=np.float32).reshape(2, size, size)
    arranged = CompiledKernel(size, 1).arrange(amplitude)
    assert arranged.shape == amplitude.shape
    assert arranged.flags.c_contiguous
    assert np.array_equal(np.sort(arranged.reshape(2, -1)), amplitude.reshape(2, -1))


def test_no_frames_can_be_arranged():
    assert CompiledKernel(40, 1).arrange(np.zeros((0, 40, 40), np.float32)).shape == (0, 40, 40)


def test_rows_and_lanes_beyond_the_frame_stay_zero():
    amplitude, waves, corners, weights, probe, image = problem(3, 40)
    kernel = CompiledKernel(40, 1)
    active = Active.plain(kernel.arrange(amplitude), waves, corners, weights)
    runs = [kernel.step(active, Estimate.plain(probe, image), Rule(raar(0.9)), probe_sum=False) for _ in range(3)]
    assert all(np.isfinite(run.image).all() for run in runs)
    planes = kernel._scratch[:, :2 * 3 * 2 * 48 * 16].reshape(2, 3, 2, 48, 16)  # near, far; without the intensities
    assert not planes[:, :, :, 40:].any()
    assert not planes[:, 2, :, :, 8:].any()


def test_same_split_gives_the_same_bits():
    amplitude, waves, corners, weights, probe, image = problem(7, 32)
    kernel = CompiledKernel(32, 2)
    runs = [kernel.step(Active.plain(kernel.arrange(amplitude), waves.copy(), corners, weights),
                        Estimate.plain(probe, image), Rule(raar(0.9)), probe_sum=True) for _ in range(2)]
    assert np.array_equal(runs[0].image, runs[1].image)
    assert np.array_equal(runs[0].probes, runs[1].probes)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_frames_than_parts(count):
    amplitude, waves, corners, weights, probe, image = problem(3, 32)
    kernel = CompiledKernel(32, 3)
    active = Active.plain(kernel.arrange(amplitude), waves, corners, weights).part(slice(0, count))
    assert np.isfinite(kernel.step(active, Estimate.plain(probe, image), Rule(ap()), probe_sum=False).image).all()


def test_choice_falls_back_and_refuses_by_name(monkeypatch):
    monkeypatch.setattr(choice, "gpu_trouble", lambda: "this test hides it")
    assert choose("auto", (32, 32), 1, SINGLE).name == "compiled"
    assert choose("auto", (32, 32), 3, SINGLE).name == "compiled"
    assert choose("reference", (32, 32), 1, SINGLE).name == "reference"
    assert all(suits((side, side), 1, SINGLE) for side in (16, 40, 96, 100, 250, 260, 384, 500, 2048))
    for frame, modes, real in (((34, 34), 1, SINGLE), ((4096, 4096), 1, SINGLE), ((32, 64), 1, SINGLE),
                               ((32, 32), 1, np.dtype(np.float64)), ((8, 8), 1, SINGLE)):
        assert not suits(frame, modes, real)
        assert choose("auto", frame, modes, real).name == "reference"
    with pytest.raises(ParameterError, match="kernel 'auto'"):
        choose("compiled", (34, 34), 1, SINGLE)
    with pytest.raises(ParameterError, match=r"this test hides it.*camlink\[gpu\]"):
        choose("cuda", (32, 32), 1, SINGLE)
