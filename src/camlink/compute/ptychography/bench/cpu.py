"""Measure an iteration on the processor: RAAR with the probe beside plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.bench.problem import BLEND, REAL, Case, Problem, engine_of, gap
from camlink.compute.ptychography.bench.record import TOLERANCE, clocked, counted, record
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.reference import ReferenceKernel

Array = NDArray[Any]

def on_cpu(name: str, case: Case) -> dict[str, Any]:
    """An iteration of RAAR with the probe, beside the reference kernel and a loop as one writes it first."""
    problem = Problem.of(case)
    kernel = choose("compiled", (case.side, case.side), 1, REAL)
    wrong = gap(problem, kernel)
    engine, reference = engine_of(problem, kernel), engine_of(problem, ReferenceKernel())
    waves = np.repeat(problem.probe, case.frames, axis=0)
    figure = clocked({name: lambda: engine.iterate(BLEND, refine_probe=True)})[name]
    beside = clocked({"reference kernel": lambda: reference.iterate(BLEND, refine_probe=True),
                      "plain SciPy loop": lambda: plain_iteration(problem, waves)}, 3)
    note = f"{case.frames} frames of {case.side}^2, {1e3 * figure / case.frames:.1f} us a frame; {counted(wrong)}"
    return record(name, figure, beside, note, checked=wrong < TOLERANCE)


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
