"""STXM: the transmitted light at every scan point, the first picture of a sample and the map to find one's way."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from camlink.block import CountFrames, Header, Result
from camlink.errors import FormatError
from camlink.workflow.operator import operator
from camlink.workflow.parameter import Parameters, about

LARGEST_MAP = 1 << 22
"""Pixels of the largest map."""
REACH = 0.75
"""Steps from a point within which a map pixel takes its value: over half a diagonal, under a whole step."""


class StxmParameters(Parameters, frozen=True):
    """How fine the map is and how often it is shown."""

    every_s: Annotated[float, about("least time between two maps", unit="s", ge=0, le=60)] = 0.25
    step_m: Annotated[float, about("pixel of the map; 0 = from the span and the number of points", unit="m", ge=0,
                                   le=1)] = 0.0


class Grid:
    """A regular grid over the span of a scan; each pixel has the value of the nearest point that was visited.

    The centre of pixel [0, 0] is at (y0, x0) of the span, the last ones reach (y1, x1).
    """

    def __init__(self, span_m: tuple[float, float, float, float], points: int, step_m: float = 0.0) -> None:
        self.first_m = np.array(span_m[:2], dtype=np.float64)
        extent_m = np.maximum(np.array(span_m[2:], dtype=np.float64) - self.first_m, 0)
        self.step_m = step_m or _step(extent_m, points)
        steps = np.round(extent_m / self.step_m)
        if not np.isfinite(steps).all() or float(np.prod(steps + 1)) > LARGEST_MAP:
            raise FormatError(f"stxm: a span of {span_m} m in steps of {self.step_m:g} m is no map of at most "
                              f"{LARGEST_MAP} pixels; set step_m")
        self.map = np.full((int(steps[0]) + 1, int(steps[1]) + 1), np.nan, dtype=np.float32)
        self._distance = np.full(self.map.shape, REACH)

    @property
    def span_m(self) -> tuple[float, float, float, float]:
        """Centres of the first and of the last pixel (y0, x0, y1, x1) [m]."""
        last_m = self.first_m + (np.array(self.map.shape) - 1) * self.step_m
        return float(self.first_m[0]), float(self.first_m[1]), float(last_m[0]), float(last_m[1])

    def put(self, position_m: NDArray[np.float64], value: float) -> None:
        """Give `value` to the pixels about position_m (2,) that no other visited point is nearer to."""
        at = (position_m - self.first_m) / self.step_m
        low = np.maximum(np.round(at).astype(np.int64) - 1, 0)
        high = np.round(at).astype(np.int64) + 2
        if (high <= 0).any() or (low >= self.map.shape).any():
            return
        near = (slice(low[0], high[0]), slice(low[1], high[1]))
        rows, columns = self.map[near].shape
        distance = np.hypot(low[0] + np.arange(rows)[:, None] - at[0], low[1] + np.arange(columns) - at[1])
        nearer = distance <= self._distance[near]
        self._distance[near][nearer] = distance[nearer]
        self.map[near][nearer] = value


def _step(extent_m: NDArray[np.float64], points: int) -> float:
    """Step [m] of a raster of `points` over the extent: (h/s + 1)(w/s + 1) = points solved for s."""
    area, half = float(extent_m[0] * extent_m[1]), float(extent_m.sum())
    if points < 2 or half == 0:
        return max(half, 1e-9)
    if area == 0:
        return half / (points - 1)
    return 2 * area / (math.sqrt(half**2 + 4 * area * (points - 1)) - half)


class Transmission:
    """Counts of a frame as if none of its pixels was masked, by the share of the mean pattern that it has."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape, dtype=np.float64)
        self._seen = np.zeros(shape, dtype=np.int64)

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float64]:
        """Transmitted counts (n,) of frames (n, y, x) float32 [photon]; NaN for a frame without any valid pixel."""
        valid = np.isfinite(frames)
        counts = np.where(valid, frames, 0)
        self._sum += counts.sum(axis=0, dtype=np.float64)
        self._seen += valid.sum(axis=0)
        mean = self._sum / np.maximum(self._seen, 1)
        share = np.einsum("nyx,yx->n", valid, mean)
        found = counts.sum(axis=(1, 2), dtype=np.float64)
        whole = np.where(share > 0, found * (mean.sum() / np.where(share > 0, share, 1)), found)
        return np.where(valid.any(axis=(1, 2)), whole, np.nan)


@operator("stxm")
class Stxm:
    """Transmission map of the scan, brighter where more light came through.

    Gives "map" (rows, columns) float32 [photon], NaN where the beam was not yet, "positions_m" (m, 2) float32 as
    (y, x) of the points visited, and facts y0_m, x0_m, y1_m, x1_m (centres of the first and last pixel) and points.
    """

    def __init__(self, parameters: StxmParameters) -> None:
        self._parameters = parameters
        self._grid: Grid | None = None
        self._transmission: Transmission | None = None
        self._seen: dict[int, tuple[float, float]] = {}
        self._shown_s = -math.inf
        self._head: Header | None = None
        self._fresh = False

    def __call__(self, frames: CountFrames) -> Result | None:
        """Take frames; gives the map when the last one is at least `every_s` old."""
        fresh = np.array([int(index) not in self._seen for index in frames.index], dtype=np.bool_)
        if fresh.any():
            self._take(frames, np.flatnonzero(fresh))
        if not self._fresh or time.monotonic() - self._shown_s < self._parameters.every_s:
            return None
        return self._result()

    def finish(self) -> Iterator[Result]:
        """The final map, unless it was given already."""
        if self._fresh:
            yield self._result()

    def _take(self, frames: CountFrames, rows: NDArray[np.int64]) -> None:
        if self._grid is None or self._transmission is None:
            self._grid = Grid(frames.scan.span_m, frames.scan.points or frames.scan.expected,
                              self._parameters.step_m)
            self._transmission = Transmission((frames.frames.shape[1], frames.frames.shape[2]))
        counts = self._transmission(frames.frames[rows])
        for row, count in zip(rows, counts, strict=True):
            position_m = frames.position_m[row]
            self._seen[int(frames.index[row])] = (float(position_m[0]), float(position_m[1]))
            if math.isfinite(count):
                self._grid.put(position_m, count)
        self._head, self._fresh = frames.header, True

    def _result(self) -> Result:
        assert self._grid is not None
        assert self._head is not None
        self._shown_s, self._fresh = time.monotonic(), False
        y0, x0, y1, x1 = self._grid.span_m
        facts: dict[str, int | float | str | bool] = {
            "y0_m": y0, "x0_m": x0, "y1_m": y1, "x1_m": x1, "points": len(self._seen)}
        positions_m = np.array(list(self._seen.values()), dtype=np.float32).reshape(-1, 2)
        return Result(Header(scan=self._head.scan, made_s=self._head.made_s, facts=facts),
                      {"map": self._grid.map.copy(), "positions_m": positions_m})

