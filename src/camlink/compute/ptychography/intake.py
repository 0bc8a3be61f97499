"""Intake: photon counts become amplitudes with weights; what cannot be used is refused and counted, never guessed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.block import CountFrames
from camlink.compute.arrays import namespace, to_host
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.model import MASKED

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames ready for the engine; amplitudes lie on the host or on a GPU, all else on the host.

    index (n,), amplitude (n, y, x) float32 with zero frequency at [0, 0] (MASKED where there is no value), corners
    (n, 2) [pixel], weights (n,) in [0, 1].
    """

    index: Array
    amplitude: Array
    corners: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.index)

    @property
    def photons(self) -> Array:
        """Photons of every frame (n,), masked pixels left out."""
        return to_host(np.square(np.maximum(self.amplitude, 0)).sum(axis=(1, 2), dtype=np.float64))

    def part(self, chosen: slice) -> Batch:
        """Some of the frames."""
        return Batch(self.index[chosen], self.amplitude[chosen], self.corners[chosen], self.weights[chosen])


def joined(batches: list[Batch]) -> Batch:
    """All batches as one."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(namespace(*parts).concatenate(parts) for parts in (
        [getattr(batch, name) for batch in batches] for name in ("index", "amplitude", "corners", "weights"))))


class Intake:
    """Reads blocks of one scan and remembers what was wrong with them.

    A pixel with `saturated` [photon] or more has no value, unless that is 0. Frames of a `far` field have their middle
    moved to [0, 0], where the zero frequency is. `space` is numpy or cupy: where the amplitudes are made and stay.
    """

    def __init__(self, geometry: Geometry, saturated: float = 0.0, space: Any = np, *, far: bool = True) -> None:
        self._geometry = geometry
        self._saturated = saturated
        self._space = space
        self._far = far
        self.counts: Counter[str] = Counter()

    def read(self, block: CountFrames) -> Batch:
        """The usable frames of a block; frames of another shape or with a position off the grid are refused."""
        if block.frames.shape[1:] != self._geometry.frame:
            self.counts["wrong_shape"] += block.count
            return self._empty()
        corners, rows = self._placed(block)
        every = len(rows) == block.count and bool((np.diff(rows) > 0).all())
        frames = self._space.asarray(block.frames if every else block.frames[rows])
        shifted = not self._far or bool(block.header.facts.get("fft_shifted"))
        amplitude, weights = self._amplitude(frames, shifted=shifted)
        return Batch(block.index[rows], amplitude, corners[rows], weights)

    def corrections(self, block: CountFrames) -> dict[int, Array]:
        """Corners (2,) [pixel] by frame index, from a block whose frames have no pixels: it corrects positions."""
        corners, rows = self._placed(block)
        return {int(block.index[row]): corners[row] for row in rows}

    def _placed(self, block: CountFrames) -> tuple[Array, Array]:
        """Corners (n, 2) [pixel] of all rows, and the rows that lie on the grid, each frame once, its last one."""
        corners = self._geometry.corners(block.position_m)
        good = self._geometry.inside(corners)
        self.counts["off_grid"] += int((~good).sum())
        newest = {int(index): row for row, index in enumerate(block.index) if good[row]}
        self.counts["repeated"] += int(good.sum()) - len(newest)
        return corners, np.fromiter(newest.values(), np.int64, len(newest))

    def _amplitude(self, frames: Array, *, shifted: bool) -> tuple[Array, Array]:
        xp = self._space
        counts = frames.astype(np.float32, copy=False)
        known = xp.isfinite(counts)
        if self._saturated:
            full = known & (counts >= self._saturated)
            self.counts["saturated_pixels"] += int(full.sum())
            known &= ~full
        self.counts["negative_pixels"] += int((known & (counts < 0)).sum())
        with np.errstate(invalid="ignore"):
            amplitude = xp.where(known, xp.sqrt(xp.maximum(counts, 0)), np.float32(MASKED))
        if not shifted:
            amplitude = xp.fft.ifftshift(amplitude, axes=(1, 2))
        weights = to_host(known.mean(axis=(1, 2), dtype=np.float32)) if len(frames) else np.zeros(0, np.float32)
        self.counts["empty_frames"] += int((weights == 0).sum())
        return xp.ascontiguousarray(amplitude), weights

    def _empty(self) -> Batch:
        none = np.zeros(0, np.float32)
        amplitude = self._space.zeros((0, *self._geometry.frame), np.float32)
        return Batch(np.zeros(0, np.int64), amplitude, np.zeros((0, 2)), none)
