"""Tiles: the frames of a scan split by where they lie, as many for each rank, and the object pixels that each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Box = tuple[slice, slice]
FINE: Final = 64
_WIDTH: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Cut:
    """A line through a set of ranks: frames below go to the first `low` of them.

    Below means that `key` of the corner, its coordinate on `axis` and then the other one, is less than `below`.
    """

    axis: int
    below: int
    low: int

    def key(self, corners: Array) -> Array:
        """Where corners (n, 2) stand along the axis (n,); the other coordinate splits those that stand side by side."""
        return corners[:, self.axis].astype(np.int64) * _WIDTH + corners[:, 1 - self.axis]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Corners y0..y1, x0..x1, ends included."""

    y0: int
    x0: int
    y1: int
    x1: int


@dataclass(frozen=True, slots=True)
class Tiles:
    """The windows and pixels of `ranks` ranks on an object of `shape` (H, W) with frames of `frame` (y, x) pixels.

    `cuts` are those of recursive bisection in the order in which they are made, depth first. Tiles reach `slack` pixels
    further than their frames need, so that a frame may move a little.
    """

    shape: tuple[int, int]
    frame: tuple[int, int]
    ranks: int
    cuts: tuple[Cut, ...]
    slack: int = 0

    @staticmethod
    def of(corners: Array, ranks: int, shape: tuple[int, int], frame: tuple[int, int], slack: int = 0) -> Tiles:
        """Tiles with equal numbers of the frames at `corners` (n, 2), give or take one; a rank may get none."""
        return Tiles(shape, frame, ranks, tuple(_cuts(np.asarray(corners, np.int64), ranks)), slack)

    @staticmethod
    def even(ranks: int, shape: tuple[int, int], frame: tuple[int, int], slack: int = 0) -> Tiles:
        """Tiles of equal area, for a scan whose positions are not known yet."""
        axes = [np.linspace(0, side - size, FINE) for side, size in zip(shape, frame, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return Tiles.of(np.rint(grid), ranks, shape, frame, slack)

    def rank_of(self, corners: Array) -> Array:
        """The rank that works on the frame at each of the corners (n, 2): (n,)."""
        found = np.zeros(len(corners), np.int64)
        self._assign(np.asarray(corners, np.int64), np.arange(len(corners)), 0, self.ranks, iter(self.cuts), found)
        return found

    def box(self, rank: int) -> Box:
        """The object pixels under the frames that `rank` may get."""
        area = self._areas()[rank]
        reach, slack = np.array([area.y1, area.x1]) + self.frame, self.slack
        return (slice(max(0, area.y0 - slack), min(self.shape[0], int(reach[0]) + slack)),
                slice(max(0, area.x0 - slack), min(self.shape[1], int(reach[1]) + slack)))

    def meeting(self, rank: int) -> dict[int, Box]:
        """The other ranks whose tiles meet that of `rank`, in order, and where, in pixels of its tile."""
        own = self.box(rank)
        shared = {other: common(own, self.box(other)) for other in range(self.ranks) if other != rank}
        return {other: inside(box, own) for other, box in shared.items() if box is not None}

    def owned(self, rank: int) -> Array:
        """Which pixels of its tile no lower rank has (h, w) bool."""
        own = self.box(rank)
        mine = np.ones([part.stop - part.start for part in own], bool)
        for other, box in self.meeting(rank).items():
            if other < rank:
                mine[box] = False
        return mine

    def _areas(self) -> list[Rectangle]:
        """Where the corners of the frames of every rank may lie."""
        everywhere = Rectangle(0, 0, self.shape[0] - self.frame[0], self.shape[1] - self.frame[1])
        return _areas(everywhere, self.ranks, iter(self.cuts))

    def _assign(self, corners: Array, rows: Array, first: int, ranks: int, cuts: Iterator[Cut], found: Array) -> None:
        if ranks == 1:
            found[rows] = first
            return
        cut = next(cuts)
        below = cut.key(corners[rows]) < cut.below
        self._assign(corners, rows[below], first, cut.low, cuts, found)
        self._assign(corners, rows[~below], first + cut.low, ranks - cut.low, cuts, found)


def common(one: Box, other: Box) -> Box | None:
    """The pixels that two boxes share, or None."""
    parts = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)]
    return (parts[0], parts[1]) if all(part.start < part.stop for part in parts) else None


def inside(box: Box, outer: Box) -> Box:
    """`box` counted from the first pixel of `outer`."""
    parts = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True)]
    return parts[0], parts[1]


def _cuts(corners: Array, ranks: int) -> Iterator[Cut]:
    """Bisect across the longer side, with frames in proportion to the ranks on either side."""
    if ranks == 1:
        return
    low = ranks // 2
    spread = np.ptp(corners, axis=0) if len(corners) else np.zeros(2)
    axis = int(spread[1] > spread[0])
    keys = np.sort(Cut(axis, 0, low).key(corners))
    place = -(-len(keys) * low // ranks)
    below = int(keys[place]) if place < len(keys) else int(keys[-1]) + 1 if len(keys) else 0
    cut = Cut(axis, below, low)
    yield cut
    inside_cut = cut.key(corners) < below
    yield from _cuts(corners[inside_cut], low)
    yield from _cuts(corners[~inside_cut], ranks - low)


def _areas(area: Rectangle, ranks: int, cuts: Iterator[Cut]) -> list[Rectangle]:
    """`area` cut up; the line of corners through which a cut goes belongs to both sides."""
    if ranks == 1:
        return [area]
    cut = next(cuts)
    line = cut.below // _WIDTH
    last = line if cut.below % _WIDTH else line - 1
    if cut.axis == 0:
        below = Rectangle(area.y0, area.x0, _within(last, area.y0, area.y1), area.x1)
        above = Rectangle(_within(line, area.y0, area.y1), area.x0, area.y1, area.x1)
    else:
        below = Rectangle(area.y0, area.x0, area.y1, _within(last, area.x0, area.x1))
        above = Rectangle(area.y0, _within(line, area.x0, area.x1), area.y1, area.x1)
    return [*_areas(below, cut.low, cuts), *_areas(above, ranks - cut.low, cuts)]


def _within(line: int, low: int, high: int) -> int:
    return min(max(line, low), high)
