"""Measure the solver: one iteration of RAAR with the probe, beside plain loops and floors of the same run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import Blend, Rule, raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import GPU_CHUNK, choose
from camlink.compute.ptychography.kernels.kernel import Estimate, Kernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Active, Slots
from camlink.errors import InputError, UnknownName

Array = NDArray[Any]
REAL: Final = np.dtype(np.float32)
BLEND: Final = raar(0.75)
TOLERANCE: Final = 1e-5
CHECKED_FRAMES: Final = 8
COPY_BYTES: Final = 2 << 30


class Case(NamedTuple):
    """Frames of side x side pixels, on a grid of side/16 pixels, and the kernel that is measured."""

    frames: int
    side: int
    kernel: str


CASES: Final = {"cpu-128": Case(400, 128, "compiled"), "gpu-128": Case(1600, 128, "cuda"),
                "gpu-256": Case(1600, 256, "cuda")}


class Problem(NamedTuple):
    """Random amplitudes (n, y, x), corners (n, 2), probe (1, y, x) and object (H, W)."""

    amplitude: Array
    corners: Array
    probe: Array
    image: Array

    @staticmethod
    def of(case: Case, seed: int = 0) -> Problem:
        """A raster scan with jitter; every number is random, so that nothing is faster than with real frames."""
        rng = np.random.default_rng(seed)
        columns = round(np.sqrt(case.frames))
        step = case.side // 16
        grid = np.stack(np.divmod(np.arange(case.frames), columns), axis=1) * step
        corners = grid + rng.integers(0, step, grid.shape)
        height, width = corners.max(axis=0) + case.side

        def field(*shape: int) -> Array:
            return np.asarray(rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0])

        amplitude = np.abs(rng.standard_normal((case.frames, case.side, case.side), np.float32))
        return Problem(amplitude, corners, field(1, case.side, case.side), field(int(height), int(width)))


def measure(case: str) -> dict[str, Any]:
    """Figures of one case as a record of `camlink bench ptychography`: "cpu-128", "gpu-128" or "gpu-256".

    Raises UnknownName, and InputError for a case of the GPU where there is none.
    """
    if case not in CASES:
        raise UnknownName("case of ptychography", case, CASES)
    chosen = CASES[case]
    if chosen.kernel != "cuda":
        return _on_cpu(case, chosen)
    trouble = gpu_trouble()
    if trouble:
        raise InputError(f"case '{case}' measures a GPU and none can be used here: {trouble}; "
                         "run it on a machine with an NVIDIA GPU, its driver and CuPy (camlink[gpu])")
    return _on_gpu(case, chosen)


def engine_of(problem: Problem, kernel: Kernel) -> Engine:
    """An engine that holds all frames of the problem."""
    count, side, _ = problem.amplitude.shape
    geometry = Geometry((side, side), (problem.image.shape[0], problem.image.shape[1]), (1.0, 1.0), (0.0, 0.0), 0)
    power = float((np.abs(problem.probe) ** 2).sum())
    engine = Engine(geometry, Slots(count, 1, (side, side), REAL, kernel.space), kernel, probe=problem.probe,
                    image=problem.image, constraints=Constraints(None, power))
    for start in range(0, count, 100):
        some = slice(start, min(start + 100, count))
        engine.put(np.arange(some.start, some.stop), problem.amplitude[some], problem.corners[some].astype(float),
                   np.ones(some.stop - some.start, np.float32))
    return engine


def gap(problem: Problem, kernel: Kernel, blend: Blend = BLEND) -> float:
    """Largest difference between a step of `kernel` and of the reference, over the largest number, on a few frames.

    The waves begin as random numbers and a pixel is masked.
    """
    few = min(CHECKED_FRAMES, len(problem.amplitude))
    rng = np.random.default_rng(1)
    start = rng.standard_normal((few, *problem.probe.shape, 2), np.float32).view(np.complex64)[..., 0]
    amplitude = problem.amplitude[:few].copy()
    amplitude[0, 1, 2] = -1
    results = []
    for tried in (kernel, ReferenceKernel()):
        take = tried.space.asarray
        waves = take(start.copy())
        active = Active.plain(tried.arrange(take(amplitude)), waves, take(problem.corners[:few]),
                              take(np.ones(few, np.float32)))
        estimate = Estimate.plain(take(problem.probe), take(problem.image))
        sums = tried.step(active, estimate, Rule(blend), probe_sum=True)
        results.append([to_host(part) for part in (waves, sums.image, sums.probes)])
    return max(float(np.abs(one - other).max() / np.abs(other).max())
               for one, other in zip(*results, strict=True))


def plain_iteration(problem: Problem, waves: Array) -> tuple[Array, Array]:
    """The same iteration as a loop over frames in NumPy and SciPy, as one writes it first: new object and probe."""
    from scipy import fft

    probe, image = problem.probe[0], problem.image
    side = probe.shape[0]
    total, weight = np.zeros_like(image), np.zeros(image.shape, np.float32)
    probe_total, probe_weight = np.zeros_like(probe), np.zeros(probe.shape, np.float32)
    for wave, amplitude, (y, x) in zip(waves, problem.amplitude, problem.corners, strict=True):
        here = (slice(y, y + side), slice(x, x + side))
        model = probe * image[here]
        field = fft.fft2(BLEND.c * model + (1 - BLEND.c) * wave, norm="ortho")
        data = fft.ifft2(amplitude * field / np.maximum(np.abs(field), 1e-15), norm="ortho")
        wave *= 1 - BLEND.a - BLEND.b
        wave += BLEND.a * model + BLEND.b * data
        total[here] += np.conj(probe) * wave
        weight[here] += np.abs(probe) ** 2
        probe_total += np.conj(image[here]) * wave
        probe_weight += np.abs(image[here]) ** 2
    return total / (weight + 0.01 * weight.max()), probe_total / (probe_weight + 0.3 * probe_weight.max())


def _on_cpu(name: str, case: Case) -> dict[str, Any]:
    problem = Problem.of(case)
    kernel = choose("compiled", (case.side, case.side), 1, REAL)
    wrong = gap(problem, kernel)
    engine, reference_engine = engine_of(problem, kernel), engine_of(problem, ReferenceKernel())
    figure = _clocked(lambda: _iterate(engine))
    reference = _clocked(lambda: _iterate(reference_engine), 3)
    waves = np.repeat(problem.probe, case.frames, axis=0)
    plain = _clocked(lambda: plain_iteration(problem, waves), 3)
    note = f"{case.frames} frames of {case.side}^2, {1e3 * figure / case.frames:.1f} us a frame; {_counted(wrong)}"
    return _record(name, figure, {"reference kernel": reference, "plain SciPy loop": plain}, wrong, note)


def _on_gpu(name: str, case: Case) -> dict[str, Any]:
    cupy = importlib.import_module("cupy")
    problem = Problem.of(case)
    kernel = choose("cuda", (case.side, case.side), 1, REAL)
    wrong = gap(problem, kernel)
    engine, plain_engine = engine_of(problem, kernel), engine_of(problem, ReferenceKernel(GPU_CHUNK, cupy))
    whole = _timed(lambda: _iterate(engine), 30)
    alone = _timed(lambda: kernel.step(engine.frames, engine.estimate, Rule(BLEND), probe_sum=True), 30)
    plain = _timed(lambda: _iterate(plain_engine), 5)
    bandwidth = _copy_bandwidth()
    moved, flops = traffic_bytes(case), operations(case)
    floor = 1e3 * moved / bandwidth
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    note = (f"{device}: {case.frames} frames of {case.side}^2; the kernel alone {alone:.3f} ms: {moved / 1e9:.2f} GB "
            f"of device memory at least, {1e-9 * moved / alone:.2f} TB/s = {floor / alone:.0%} of the measured copy "
            f"({bandwidth / 1e12:.2f} TB/s), {flops / 1e9:.1f} GFLOP, {1e-9 * flops / alone:.1f} TFLOP/s; "
            f"{_counted(wrong)}")
    return _record(name, whole, {"plain CuPy": plain, "memory floor": floor, "kernel alone": alone}, wrong, note)


def traffic_bytes(case: Case) -> int:
    """Bytes that one iteration must move through device memory: waves read and written, amplitudes read."""
    return case.frames * case.side**2 * (8 + 8 + 4)


def operations(case: Case) -> int:
    """Floating point operations of one iteration: 5 N log2 N for each transform, about 60 a pixel for the rest."""
    pixels = case.side**2
    return int(case.frames * pixels * (2 * 5 * np.log2(pixels) + 60))


def _iterate(engine: Engine) -> None:
    engine.iterate(BLEND, refine_probe=True)


def _counted(wrong: float) -> str:
    return f"one step differs from the reference by {wrong:.1e} of the largest number"


def _record(name: str, figure: float, beside: dict[str, float], wrong: float, note: str) -> dict[str, Any]:
    return {"case": name, "figure": round(figure, 4), "unit": "ms/iteration",
            "beside": {other: round(value, 4) for other, value in beside.items()},
            "ratio": {other: round(value / figure, 3) for other, value in beside.items()},
            "checked": wrong < TOLERANCE, "note": note}


def _clocked(work: Callable[[], Any], times: int = 9) -> float:
    """Median time of `work` [ms] after one run that does not count."""
    work()
    spent = []
    for _ in range(times):
        started = perf_counter()
        work()
        spent.append(perf_counter() - started)
    return 1e3 * median(spent)


def _timed(work: Callable[[], Any], times: int, together: int = 5) -> float:
    """Median time of `work` on the GPU [ms], from events around `together` runs, after some that do not count."""
    cuda = importlib.import_module("cupy").cuda
    for _ in range(3):
        work()
    spent = []
    for _ in range(times):
        begin, end = cuda.Event(), cuda.Event()
        begin.record()
        for _ in range(together):
            work()
        end.record()
        end.synchronize()
        spent.append(cuda.get_elapsed_time(begin, end) / together)
    return float(median(spent))


def _copy_bandwidth() -> float:
    """Bytes read and written each second by a large copy in device memory."""
    cupy = importlib.import_module("cupy")
    source = cupy.random.random(COPY_BYTES // 8)
    target = cupy.empty_like(source)
    return 2e3 * float(source.nbytes) / _timed(lambda: cupy.copyto(target, source), 10)
