"""Slots: what the engine keeps of every frame, joined by frame index; the first `count` of them are active."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import namespace
from camlink.compute.ptychography.shift import Places

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Active:
    """Views of the active slots.

    amplitude (n, y, x) as the kernel arranged it, waves (n, mode, y, x), corners (n, 2) int64 [pixel], weights (n,) in
    [0, 1], gains (n,) by which the measured amplitude is multiplied, shifts (n,) int64: the row of the probe table that
    this frame was taken with.
    """

    amplitude: Array
    waves: Array
    corners: Array
    weights: Array
    gains: Array
    shifts: Array

    @staticmethod
    def plain(amplitude: Array, waves: Array, corners: Array, weights: Array) -> Active:
        """Frames of steady intensity on whole pixels: gain 1, shift 0."""
        return Active(amplitude, waves, corners, weights, namespace(weights).ones_like(weights),
                      namespace(corners).zeros_like(corners[:, 0]))

    def part(self, chosen: Any) -> Active:
        """Some of the frames: views for a slice, copies for an array of rows."""
        return Active(self.amplitude[chosen], self.waves[chosen], self.corners[chosen], self.weights[chosen],
                      self.gains[chosen], self.shifts[chosen])

    def some(self, chosen: Array, waves: Array) -> Active:
        """The frames of rows `chosen` (n,) with other waves (n, mode, y, x), so that their own are not copied."""
        return Active(self.amplitude[chosen], waves, self.corners[chosen], self.weights[chosen], self.gains[chosen],
                      self.shifts[chosen])

    def lent(self, waves: Array) -> Active:
        """The same frames with other waves (n, mode, y, x) in the place of their own."""
        return replace(self, waves=waves)


class Slots:
    """Room for `capacity` frames, filled in order of arrival; a frame that comes again takes its old place.

    `space` is the array module of the kernel that works on them, numpy or cupy.
    """

    def __init__(self, capacity: int, modes: int, frame: tuple[int, int], real: np.dtype[Any],
                 space: Any = np) -> None:
        self.capacity = capacity
        self.count = 0
        self._space = space
        self._slot: dict[int, int] = {}
        self._frame, self._modes, self._real = frame, modes, real
        self._amplitude, self._waves = self._rooms(capacity, space)
        self._corners = space.zeros((capacity, 2), np.int64)
        self._exact = np.zeros((capacity, 2))
        self._told = np.zeros((capacity, 2))
        self._weights = space.zeros(capacity, real)
        self._gains = space.ones(capacity, real)
        self._shifts = space.zeros(capacity, np.int64)
        self._born = np.zeros(capacity, np.int64)
        self.shifted = False
        """Whether some frame was taken at a fraction of a pixel."""

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, used or not."""
        return int(self._amplitude.nbytes + self._waves.nbytes)

    @property
    def active(self) -> Active:
        """Views of the slots in use."""
        used = slice(0, self.count)
        return Active(self._amplitude[used], self._waves[used], self._corners[used], self._weights[used],
                      self._gains[used], self._shifts[used])

    @property
    def room(self) -> str:
        """Where the frames are, for people."""
        return "memory" if self._space is np else "GPU memory"

    @property
    def resident(self) -> bool:
        """Whether all frames lie where the kernel works."""
        return True

    def spans(self, *, writing: bool = True) -> Iterator[Active]:
        """The active frames where the kernel works, in one or more parts; with `writing`, changed waves are kept."""
        yield self.active

    def part(self, chosen: slice) -> Active:
        """Some of the active frames where the kernel works."""
        return self.active.part(chosen)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` frames; those that are there stay."""
        for name in ("_corners", "_exact", "_told", "_weights", "_gains", "_shifts", "_born"):
            old = getattr(self, name)
            new = namespace(old).empty((capacity, *old.shape[1:]), old.dtype)
            new[:self.count] = old[:self.count]
            setattr(self, name, new)
        self._grow_rooms(capacity)
        self.capacity = capacity

    def claim(self, index: int) -> int | None:
        """The slot of frame `index`: its old one when it is known, else a new one, or None when all are taken."""
        slot = self._slot.get(index)
        if slot is None and self.count < self.capacity:
            slot = self._slot[index] = self.count
            self.count += 1
        return slot

    @property
    def indices(self) -> Array:
        """Indices (n,) of the active frames."""
        return np.fromiter(self._slot, np.int64, self.count)

    def find(self, index: Array) -> Array:
        """The slots (n,) of frames `index` (n,); -1 for those that never came."""
        return np.array([self._slot.get(int(one), -1) for one in index], np.int64)

    def fill(self, slots: Array, amplitude: Array, waves: Array, places: Places, weights: Array, now: int) -> None:
        """Put frames (n, ...) into `slots` (n,) at their places, with gain 1.

        `amplitude` and `waves` live where the slots live, the others on the host.
        """
        self._keep(slots, amplitude, waves)
        at = self._space.asarray(slots)
        self._weights[at] = self._space.asarray(weights)
        self._gains[at] = 1
        self._told[slots] = places.corners
        self._born[slots] = now
        self.place(slots, places)

    def place(self, slots: Array, places: Places) -> None:
        """Let the frames in `slots` (n,) lie elsewhere; their waves stay as they are."""
        at = self._space.asarray(slots)
        self._corners[at] = self._space.asarray(places.whole)
        self._shifts[at] = self._space.asarray(places.rows)
        self._exact[slots] = places.corners
        self.shifted = self.shifted or bool(places.rows.any())

    @property
    def corners(self) -> Array:
        """Corners (n, 2) float64 [pixel] of the active frames on the host, with their fractions."""
        return self._exact[:self.count].copy()

    @property
    def told(self) -> Array:
        """The corners (n, 2) float64 [pixel] that the active frames came with, whatever was made of them since."""
        return self._told[:self.count].copy()

    def renew(self, slots: Array, corners: Array, now: int | Array) -> None:
        """Let the frames in `slots` (n,) count as come `now`, and told to lie at `corners` (n, 2) [pixel]."""
        self._told[slots] = corners
        self._born[slots] = now

    def ages(self, now: int) -> Array:
        """Iterations that every active frame has seen (n,)."""
        return now - self._born[:self.count]

    def _rooms(self, capacity: int, space: Any) -> tuple[Array, Array]:
        """Empty amplitudes and waves of so many frames."""
        return (space.empty((capacity, *self._frame), self._real),
                space.empty((capacity, self._modes, *self._frame), np.result_type(self._real, np.complex64)))

    def _grow_rooms(self, capacity: int) -> None:
        amplitude, waves = self._rooms(capacity, self._space)
        amplitude[:self.count], waves[:self.count] = self._amplitude[:self.count], self._waves[:self.count]
        self._amplitude, self._waves = amplitude, waves

    def _keep(self, slots: Array, amplitude: Array, waves: Array) -> None:
        at = self._space.asarray(slots)
        self._amplitude[at] = amplitude
        self._waves[at] = waves
