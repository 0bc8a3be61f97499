"""Reference kernel: the step in array operations, for any precision, size and number of modes; oracle of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.kernels.kernel import Estimate, Sums
from camlink.compute.ptychography.model import impose, scatter, windows
from camlink.compute.ptychography.propagator import FAR_FIELD, Propagator
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]


class ReferenceKernel:
    """Works through the frames in chunks; `chunk` changes the scratch memory, never the result.

    `space` is numpy or cupy. It is the one kernel that takes any propagator.
    """

    recordable = False

    def __init__(self, chunk: int = 32, space: Any = np, propagator: Propagator = FAR_FIELD) -> None:
        where = "" if propagator is FAR_FIELD else f", {propagator.name}"
        self.name = ("reference" if space is np else "cupy") + where
        self.space = space
        self.propagator = propagator
        self._chunk = chunk

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes as they are."""
        return amplitude

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        total = np.zeros_like(estimate.image)
        probe_totals = np.zeros_like(estimate.probes) if probe_sum else None
        for start in range(0, len(active.weights), self._chunk):
            part = active.part(slice(start, start + self._chunk))
            probes = estimate.probes[part.shifts]
            seen = windows(estimate.image, part.corners, probes.shape[-2:])[:, None]
            model = probes * seen
            advance(part, model, estimate.background, rule, self.propagator)
            gap = part.weights[:, None, None, None] * (part.waves - model)
            total += scatter((np.conj(probes) * gap).sum(axis=1), part.corners, total.shape)
            if probe_totals is not None:
                add_by_shift(probe_totals, np.conj(seen) * gap, part.shifts)
        return Sums(total, probe_totals)


def advance(part: Active, model: Array, background: Array | None, rule: Rule,
            propagator: Propagator = FAR_FIELD) -> None:
    """The waves of Kernel.step in place; q = P O_j is `model` (n, mode, y, x)."""
    a, b, c = rule.blend.a, rule.blend.b, rule.blend.c
    mixed, measured = c * model + (1 - c) * part.waves, part.gains[:, None, None] * part.amplitude
    data = impose(mixed, measured, rule.term, background, propagator)
    waves = part.waves
    waves *= 1 - a - b
    waves += a * model
    waves += b * data


def add_by_shift(totals: Array, parts: Array, shifts: Array) -> None:
    """Add `parts` (n, mode, y, x) to the rows `shifts` (n,) of `totals` (shift, mode, y, x)."""
    if len(totals) == 1:
        totals[0] += parts.sum(axis=0)
        return
    for row in range(len(totals)):
        totals[row] += parts[shifts == row].sum(axis=0)
