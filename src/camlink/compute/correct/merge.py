"""Merge: exposures of one scan point become one frame; they are joined by their point, never by arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Exposure:
    """One image (y, x) float32 [photon], NaN for no value, with its identity; `made_s` is when it was captured."""

    image: NDArray[np.float32]
    index: int
    point: int
    dwell_s: float
    position_m: tuple[float, float]
    time_s: float
    made_s: float


def combine(images: NDArray[np.float32], dwell_s: NDArray[np.float64], total_s: float) -> NDArray[np.float32]:
    """Counts (y, x) float32 for `total_s` of light from exposures (k, y, x) of dwell_s (k,).

    T sum(m x) / sum(m t) with m = 0 where a pixel has no value (saturated, lost, bad): the estimate of the rate with
    the least variance for Poisson counts. NaN where no exposure has a value.
    """
    if len(images) == 1:
        scale = np.float32(total_s / dwell_s[0]) if dwell_s[0] > 0 else np.float32(1)
        single: NDArray[np.float32] = images[0] * scale
        return single
    valid = np.isfinite(images)
    counts = np.where(valid, images, 0).sum(axis=0, dtype=np.float64)
    light_s = np.tensordot(dwell_s, valid, axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        merged: NDArray[np.float32] = np.where(light_s > 0, total_s * counts / light_s, np.nan).astype(np.float32)
    return merged


class Merge:
    """Collects `exposures` exposures of every point and gives them out as one.

    A point that still lacks one after `window` later points were opened is given out with what it has, scaled to the
    dwell of the last complete point. An exposure that comes after its point was given out is counted as late.
    """

    def __init__(self, exposures: int, window: int) -> None:
        self.merged = self.unpaired = self.late = 0
        self.exposures = exposures
        self.window = window
        self._open: dict[int, dict[int, Exposure]] = {}
        self._opened: dict[int, int] = {}
        self._given: set[int] = set()
        self._total_s = 0.0

    def add(self, exposure: Exposure) -> Iterator[Exposure]:
        """Take one exposure; gives every point that is now finished."""
        if self.exposures == 1:
            yield exposure
            return
        point = exposure.point
        if point in self._given:
            self.late += 1
            return
        if point not in self._open:
            self._opened[point] = len(self._given) + len(self._open)
            self._open[point] = {}
        self._open[point].setdefault(exposure.index, exposure)
        if len(self._open[point]) == self.exposures:
            yield self._give(point)
        newest = len(self._given) + len(self._open)
        for old in [p for p in self._open if newest - self._opened[p] > self.window]:
            yield self._give(old)

    def finish(self) -> Iterator[Exposure]:
        """Every point that still waits for an exposure, with what it has."""
        for point in list(self._open):
            yield self._give(point)

    def _give(self, point: int) -> Exposure:
        found = self._open.pop(point)
        parts = [found[index] for index in sorted(found)]
        del self._opened[point]
        self._given.add(point)
        dwell_s = np.array([part.dwell_s for part in parts])
        if len(parts) == self.exposures:
            self._total_s = float(dwell_s.sum())
            self.merged += 1
        else:
            self.unpaired += 1
        total_s = self._total_s or float(dwell_s.sum())
        first = parts[0]
        return Exposure(
            image=combine(np.stack([part.image for part in parts]), dwell_s, total_s), index=first.index, point=point,
            dwell_s=total_s, position_m=first.position_m, time_s=min(part.time_s for part in parts),
            made_s=min(part.made_s for part in parts))
