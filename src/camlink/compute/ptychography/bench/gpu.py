"""Measure an iteration on a GPU: beside plain CuPy and the floor of its memory, with events."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np

from camlink.compute.arrays import gpu_trouble
from camlink.compute.ptychography.bench.problem import BLEND, REAL, RULE, Case, Problem, engine_of, gap
from camlink.compute.ptychography.bench.record import TOLERANCE, counted, record
from camlink.compute.ptychography.kernels.choice import GPU_CHUNK, choose
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.errors import InputError

COPY_BYTES: Final = 2 << 30
TOGETHER: Final = 5


def check_gpu(name: str) -> None:
    """Raise InputError where there is no GPU for case `name`."""
    trouble = gpu_trouble()
    if trouble:
        raise InputError(f"case '{name}' measures a GPU and none can be used here: {trouble}; "
                         "run it on a machine with an NVIDIA GPU, its driver and CuPy (camlink[gpu])")


def card() -> str:
    """The name of the GPU."""
    name: bytes = importlib.import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode()


def on_gpu(name: str, case: Case) -> dict[str, Any]:
    """An iteration of RAAR with the probe; raises InputError where there is no GPU."""
    check_gpu(name)
    problem = Problem.of(case)
    kernel = choose("cuda", (case.side, case.side), 1, REAL)
    wrong = gap(problem, kernel)
    engine = engine_of(problem, kernel)
    plain_engine = engine_of(problem, ReferenceKernel(GPU_CHUNK, kernel.space))
    whole = timed(lambda: engine.iterate(BLEND, refine_probe=True), 30)
    alone = timed(lambda: kernel.step(engine.frames, engine.estimate, RULE, probe_sum=True), 30)
    plain = timed(lambda: plain_engine.iterate(BLEND, refine_probe=True), 5)
    bandwidth = _copy_bandwidth()
    moved, flops = traffic_bytes(case), operations(case)
    floor = 1e3 * moved / bandwidth
    note = (f"{card()}: {case.frames} frames of {case.side}^2; the kernel alone {alone:.3f} ms: {moved / 1e9:.2f} GB "
            f"of device memory at least, {1e-9 * moved / alone:.2f} TB/s = {floor / alone:.0%} of the measured copy "
            f"({bandwidth / 1e12:.2f} TB/s), {flops / 1e9:.1f} GFLOP, {1e-9 * flops / alone:.1f} TFLOP/s; "
            f"{counted(wrong)}")
    return record(name, whole, {"plain CuPy": plain, "memory floor": floor, "kernel alone": alone}, note,
                  checked=wrong < TOLERANCE)


def traffic_bytes(case: Case) -> int:
    """Bytes that one iteration must move through device memory: waves read and written, amplitudes read."""
    return case.frames * case.side**2 * (8 + 8 + 4)


def operations(case: Case) -> int:
    """Floating point operations of one iteration: 5 N log2 N for each transform, about 60 a pixel for the rest."""
    pixels = case.side**2
    return int(case.frames * pixels * (2 * 5 * np.log2(pixels) + 60))


def timed(work: Callable[[], Any], times: int) -> float:
    """Median time of `work` on the GPU [ms], from events around TOGETHER runs, after some that do not count."""
    cuda = importlib.import_module("cupy").cuda
    for _ in range(3):
        work()
    spent = []
    for _ in range(times):
        begin, end = cuda.Event(), cuda.Event()
        begin.record()
        for _ in range(TOGETHER):
            work()
        end.record()
        end.synchronize()
        spent.append(cuda.get_elapsed_time(begin, end) / TOGETHER)
    return float(median(spent))


def _copy_bandwidth() -> float:
    """Bytes read and written each second by a large copy in device memory."""
    cupy = importlib.import_module("cupy")
    source = cupy.random.random(COPY_BYTES // 8)
    target = cupy.empty_like(source)
    return 2e3 * float(source.nbytes) / timed(lambda: cupy.copyto(target, source), 10)
