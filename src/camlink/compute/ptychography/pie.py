"""Pie: the ptychographic iterative engine in mini-batches, ePIE and its regularised form, for the first seconds.

chi_j = P_a(P O_j) - P O_j; a batch moves the object by sum P* chi / ((1-g) |P|^2 + g max |P|^2) and the probe by the
same with O_j. Where frames of a batch overlap, the object's step is divided by how many of them see a pixel, so that
no batch size diverges. Maiden, Johnson and Li, Optica 4 (2017) 736; g = 1 is ePIE.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.model import exit_waves, project_data, scatter, windows

Array = NDArray[Any]


class Pie:
    """Sweeps over all frames in batches; no wave is stored.

    amplitude (n, y, x) with zero frequency at [0, 0] and negative where there is no value, corners (n, 2) integers,
    probe (y, x) complex, image (H, W) complex. `regular` is g above, `batch` the frames that step together.
    """

    def __init__(self, amplitude: Array, corners: Array, probe: Array, image: Array, *, regular: float = 0.3,
                 batch: int = 16, seed: int = 0) -> None:
        self.probe, self.image = probe, image.copy()
        self.iteration = 0
        self._amplitude, self._corners = amplitude, corners
        self._regular, self._batch = regular, batch
        self._random = np.random.default_rng(seed)

    def iterate(self, *, refine_probe: bool = False) -> None:
        """One sweep: every frame once, in a new random order."""
        order = self._random.permutation(len(self._corners))
        for start in range(0, len(order), self._batch):
            self._step(order[start:start + self._batch], refine_probe)
        self.iteration += 1

    def _step(self, rows: Array, refine_probe: bool) -> None:
        corners = self._corners[rows]
        model = exit_waves(self.probe[None], self.image, corners)
        gap = (project_data(model, self._amplitude[rows]) - model)[:, 0]
        before = windows(self.image, corners, (self.probe.shape[0], self.probe.shape[1])) if refine_probe else None
        self._move_object(gap, corners)
        if before is not None:
            self._move_probe(gap, before)

    def _move_object(self, gap: Array, corners: Array) -> None:
        intensity = self.probe.real**2 + self.probe.imag**2
        scale = (1 - self._regular) * intensity + self._regular * intensity.max()
        step = np.conj(self.probe) / scale
        crowd = scatter(np.broadcast_to(intensity / scale, gap.shape), corners, self.image.shape)
        total = scatter(step * gap, corners, self.image.shape)
        self.image += total / np.maximum(crowd, 1.0).astype(crowd.dtype)

    def _move_probe(self, gap: Array, seen: Array) -> None:
        intensity = (seen.real**2 + seen.imag**2).mean(axis=0)
        step = (np.conj(seen) * gap).mean(axis=0)
        self.probe = self.probe + step / ((1 - self._regular) * intensity + self._regular * intensity.max())
