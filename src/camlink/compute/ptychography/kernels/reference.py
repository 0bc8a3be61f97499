"""Reference kernel: the step in array operations, for any precision, size and number of modes; oracle of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Blend
from camlink.compute.ptychography.kernels.kernel import Sums
from camlink.compute.ptychography.model import exit_waves, project_data, scatter, windows
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]


class ReferenceKernel:
    """Works through the frames in chunks; `chunk` changes the scratch memory, never the result.

    `space` is numpy or cupy.
    """

    recordable = False

    def __init__(self, chunk: int = 32, space: Any = np) -> None:
        self.name = "reference" if space is np else "cupy"
        self.space = space
        self._chunk = chunk

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes as they are."""
        return amplitude

    def step(self, active: Active, probe: Array, image: Array, blend: Blend, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        total = np.zeros_like(image)
        probe_total = np.zeros_like(probe) if probe_sum else None
        for start in range(0, len(active.weights), self._chunk):
            part = active.part(slice(start, start + self._chunk))
            model = exit_waves(probe, image, part.corners)
            advance(part.waves, model, part.amplitude, blend)
            weighted = part.weights[:, None, None, None] * part.waves
            total += scatter((np.conj(probe) * weighted).sum(axis=1), part.corners, image.shape)
            if probe_total is not None:
                seen = windows(image, part.corners, probe.shape[-2:])
                probe_total += (np.conj(seen)[:, None] * weighted).sum(axis=0)
        return Sums(total, probe_total)


def advance(waves: Array, model: Array, amplitude: Array, blend: Blend) -> None:
    """Z := (1-a-b) z + a q + b P_a(c q + (1-c) z) in place; q = P_o z is `model`, both (n, mode, y, x)."""
    data = project_data(blend.c * model + (1 - blend.c) * waves, amplitude)
    waves *= 1 - blend.a - blend.b
    waves += blend.a * model
    waves += blend.b * data
