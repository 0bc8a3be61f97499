"""The CUDA kernel and the engine on a GPU against the reference on the host."""

import importlib

import numpy as np
import pytest

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.bench import CASES, Case, Problem, engine_of, measure
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.cuda import LAYOUTS, CudaKernel, Layout, arrangement, suits
from camlink.compute.ptychography.kernels.kernel import Estimate
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.model import MASKED
from camlink.compute.ptychography.slots import Active
from camlink.errors import InputError

SINGLE = np.dtype(np.float32)
TROUBLE = gpu_trouble()
gpu = pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU to run the CUDA kernel on: {TROUBLE}")


def gap(one, other):
    return np.abs(to_host(one) - to_host(other)).max() / np.abs(to_host(other)).max()


def results(kernel, problem, blend, *, probe_sum=True):
    """Waves and sums of one step; a masked pixel, a dark frame and weights below one are among the frames."""
    rng = np.random.default_rng(5)
    take = kernel.space.asarray
    count, side, _ = problem.amplitude.shape
    amplitude = problem.amplitude.copy()
    amplitude[0, 3, 5] = MASKED
    amplitude[-1] = 0
    waves = take(rng.standard_normal((count, 1, side, side, 2), np.float32).view(np.complex64)[..., 0])
    active = Active.plain(kernel.arrange(take(amplitude)), waves, take(problem.corners),
                    take(rng.random(count).astype(np.float32)))
    estimate = Estimate.plain(take(problem.probe), take(problem.image))
    sums = kernel.step(active, estimate, Rule(blend), probe_sum=probe_sum)
    return [waves, sums.image] + ([sums.probes] if probe_sum else [])


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
    *((size, layout) for size, layout in LAYOUTS.items()), (128, Layout(1, 32, 1)), (256, Layout(4, 32, 1))])
@pytest.mark.parametrize("blend", [raar(0.9), dm(), ap()])
def test_one_step_agrees(size, layout, blend):
    problem = Problem.of(Case(6, size, "cuda"))
    assert suits((size, size), 1, SINGLE)
    for one, other in zip(results(CudaKernel(size, layout), problem, blend),
                          results(ReferenceKernel(), problem, blend), strict=True):
        assert gap(one, other) < 1e-5


@gpu
@pytest.mark.parametrize("count", [1, 300])
def test_any_number_of_frames(count):
    problem = Problem.of(Case(count, 64, "cuda"))
    for one, other in zip(results(CudaKernel(64), problem, raar(0.75), probe_sum=False),
                          results(ReferenceKernel(), problem, raar(0.75), probe_sum=False), strict=True):
        assert gap(one, other) < 1e-5


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
    assert choose("auto", (128, 128), 2, SINGLE).name == "cupy"
    assert choose("auto", (100, 100), 1, SINGLE).space is importlib.import_module("cupy")
