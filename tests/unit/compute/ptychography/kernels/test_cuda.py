"""The CUDA kernel and the engine on a GPU against the reference on the host."""

import importlib

import numpy as np
import pytest

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import Blend, Rule, ap, dm, raar
from camlink.compute.ptychography.bench import CASES, Case, Problem, engine_of, measure
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.cuda import LAYOUTS, CudaKernel, Layout, arrangement, suits
from camlink.compute.ptychography.kernels.kernel import Estimate
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.model import MASKED
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Active
from camlink.errors import InputError

SINGLE = np.dtype(np.float32)
TROUBLE = gpu_trouble()
gpu = pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU to run the CUDA kernel on: {TROUBLE}")


def gap(one, other):
    return np.abs(to_host(one) - to_host(other)).max() / np.abs(to_host(other)).max()


def rich(problem, *, modes=1, shifts=1, background=False):
    """The problem as the arguments of a step on the host, but for the rule.

    Random gains, weights, waves and shifts; a masked pixel and a dark frame are among the frames.
    """
    rng = np.random.default_rng(5)
    count, side, _ = problem.amplitude.shape

    def field(*shape):
        return rng.standard_normal((*shape, side, side, 2), np.float32).view(np.complex64)[..., 0]

    amplitude = problem.amplitude.copy()
    amplitude[0, 3, 5] = MASKED
    amplitude[-1] = 0
    active = Active(amplitude, field(count, modes), problem.corners, rng.random(count, np.float32),
                    0.5 + rng.random(count, np.float32), rng.integers(0, shifts, count))
    stray = rng.random((side, side), np.float32) if background else None
    return active, Estimate(field(shifts, modes), problem.image, stray)


def results(kernel, active, estimate, rule, *, probe_sum=True):
    """Waves and sums of one step, on the host."""
    take = kernel.space.asarray
    there = Active(kernel.arrange(take(active.amplitude)), take(active.waves.copy()), take(active.corners),
                   take(active.weights), take(active.gains), take(active.shifts))
    stray = estimate.background
    known = Estimate(take(estimate.probes), take(estimate.image),
                     None if stray is None else kernel.arrange(take(stray[None]))[0])
    sums = kernel.step(there, known, rule, probe_sum=probe_sum)
    return [to_host(part) for part in (there.waves, sums.image, *([sums.probes] if probe_sum else []))]


def agree(kernel, active, estimate, rule, *, probe_sum=True):
    """Whether a step of `kernel` is one of the reference."""
    pairs = zip(results(kernel, active, estimate, rule, probe_sum=probe_sum),
                results(ReferenceKernel(), active, estimate, rule, probe_sum=probe_sum), strict=True)
    return all(gap(one, other) < 1e-5 for one, other in pairs)


@pytest.mark.parametrize("size", LAYOUTS)
def test_arranging_only_permutes(size):
    assert np.array_equal(np.sort(arrangement(size, LAYOUTS[size])), np.arange(size * size))


@pytest.mark.skipif(not TROUBLE, reason="a GPU is here")
def test_without_a_gpu_the_bench_says_why():
    with pytest.raises(InputError, match="none can be used here"):
        measure("gpu-128")
    assert CASES["cpu-128"].kernel == "compiled"


@gpu
@pytest.mark.parametrize(("size", "layout"), [
    *((size, layout) for size, layout in LAYOUTS.items()), (128, Layout(1, 32, 1)), (256, Layout(8, 32, 3))])
@pytest.mark.parametrize("blend", [raar(0.9), dm(), ap()])
def test_one_step_agrees(size, layout, blend):
    assert suits((size, size), 1, SINGLE)
    assert agree(CudaKernel(size, layout=layout), *rich(Problem.of(Case(6, size, "cuda"))), Rule(blend))


@gpu
@pytest.mark.parametrize("term", [DataTerm(), DataTerm("gaussian", 0.3), DataTerm("poisson", 0.3)])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("blend", [raar(0.9), Blend(0.3, 0.5, 0.8)])
def test_every_data_term_and_background_agree(term, background, blend):
    assert agree(CudaKernel(64), *rich(Problem.of(Case(9, 64, "cuda")), background=background), Rule(blend, term))


@gpu
@pytest.mark.parametrize("size", LAYOUTS)
@pytest.mark.parametrize(("modes", "shifts"), [(2, 1), (3, 5), (1, 40)])
@pytest.mark.parametrize("ordered", [False, True])
def test_modes_and_shifts_agree(size, modes, shifts, ordered):
    setup = rich(Problem.of(Case(7, size, "cuda")), modes=modes, shifts=shifts, background=True)
    kernel = CudaKernel(size, modes, ordered=ordered)
    assert suits((size, size), modes, SINGLE)
    assert agree(kernel, *setup, Rule(raar(0.75)))
    assert agree(kernel, *setup, Rule(ap()), probe_sum=False)


@gpu
def test_ordered_sums_are_the_same_to_the_last_bit():
    setup = rich(Problem.of(Case(400, 128, "cuda")), shifts=3)
    first, *others = [results(CudaKernel(128, ordered=True), *setup, Rule(raar(0.75))) for _ in range(4)]
    for other in others:
        assert all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@gpu
@pytest.mark.parametrize("count", [1, 300])
def test_any_number_of_frames(count):
    setup = rich(Problem.of(Case(count, 64, "cuda")))
    assert agree(CudaKernel(64), *setup, Rule(raar(0.75)), probe_sum=False)


@gpu
def test_no_frames_give_no_sums():
    problem = Problem.of(Case(4, 64, "cuda"))
    kernel = CudaKernel(64)
    take = kernel.space.asarray
    none = Active.plain(take(problem.amplitude[:0]), take(np.zeros((0, 1, 64, 64), np.complex64)),
                        take(problem.corners[:0]), take(np.zeros(0, np.float32)))
    estimate = Estimate.plain(take(problem.probe), take(problem.image))
    sums = kernel.step(none, estimate, Rule(ap()), probe_sum=True)
    assert not to_host(sums.image).any()
    assert not to_host(sums.probes).any()


@gpu
@pytest.mark.parametrize(("size", "name"), [(64, "cuda"), (48, "cupy")])
def test_the_engine_goes_the_same_way(size, name):
    problem = Problem.of(Case(16, size, "cuda"))
    engines = [engine_of(problem, kernel) for kernel in (choose("cuda", (size, size), 1, SINGLE), ReferenceKernel())]
    assert engines[0].kernel.name == name
    for engine in engines:
        for iteration in range(6):  # long enough to be recorded and repeated, with the probe
            engine.iterate(raar(0.75), refine_probe=iteration > 0)
        engine.centre()
        for _ in range(5):  # and without
            engine.iterate(raar(0.75))
    there, here = engines  # random frames: rounding errors double with every iteration, on the host alone as well
    assert gap(there.image, here.image) < 5e-3
    assert gap(there.probe, here.probe) < 1e-3
    assert gap(there.coverage, here.coverage) < 1e-3
    assert gap(there.evidence(), here.evidence()) < 5e-3
    assert there.fourier_error() == pytest.approx(here.fourier_error(), rel=1e-3)


@gpu
def test_auto_takes_the_gpu():
    assert choose("auto", (128, 128), 1, SINGLE).name == "cuda"
    assert choose("auto", (128, 128), 2, SINGLE).name == "cuda"
    assert choose("auto", (128, 128), 17, SINGLE).name == "cupy"
    assert choose("auto", (100, 100), 1, SINGLE).space is importlib.import_module("cupy")
