"""Chunks: slots for more frames than the memory of a GPU holds; the rest waits on the host and comes by in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import to_host
from camlink.compute.ptychography.many.copies import Copies, StreamCopies
from camlink.compute.ptychography.slots import Active, Slots

Array = NDArray[Any]
LANES: Final = 3
"""One chunk is worked on while one comes and one goes."""
CHUNK_BYTES: Final = 1 << 28
SPARED: Final = 0.15
"""Part of the free memory of a GPU that frames leave to object, probe and scratch."""


class Lane(NamedTuple):
    """Room where the kernel works for the amplitudes and waves of one chunk."""

    amplitude: Array
    waves: Array


class ChunkedSlots(Slots):
    """The first `held` frames lie where the kernel works, the others on the host; both give the same result.

    `chunk` frames at a time come to the kernel. Of `active`, corners, weights, gains and shifts are of all frames,
    amplitudes and waves only of those that are held: whoever wants all of them asks for `spans`.
    """

    def __init__(self, capacity: int, modes: int, frame: tuple[int, int], real: np.dtype[Any], space: Any = np, *,
                 held: int, chunk: int) -> None:
        self._held, self._chunk = min(held, capacity), max(1, chunk)
        self._copies = Copies() if space is np else StreamCopies()
        super().__init__(capacity, modes, frame, real, space)
        far = (capacity - self._held, *frame), (capacity - self._held, modes, *frame)
        self._far = Lane(self._copies.room(far[0], real), self._copies.room(far[1], self._waves.dtype))
        self._lanes = [Lane(*super(ChunkedSlots, self)._rooms(self._chunk, space)) for _ in range(LANES)]
        self._free: list[Any] = [None] * LANES

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, used or not, here and there."""
        return super().nbytes + self._far.amplitude.nbytes + self._far.waves.nbytes

    @property
    def room(self) -> str:
        """Where the frames are, for people."""
        return f"GPU memory {self._held}, host memory {self.capacity - self._held}"

    @property
    def resident(self) -> bool:
        """Never."""
        return False

    def spans(self, *, writing: bool = True) -> Iterator[Active]:
        """The frames that are held, then the others chunk by chunk; each is only valid until the next."""
        starts = range(self._held, self.count, self._chunk)
        arrivals = [self._bring(0, starts)] if starts else []
        if self._held or not starts:
            near = slice(0, min(self._held, self.count))
            yield self._there(near, Lane(self._amplitude[near], self._waves[near]))
        for number, start in enumerate(starts):
            if number + 1 < len(starts):
                arrivals.append(self._bring(number + 1, starts))
            self._copies.ready(arrivals.pop(0))
            rows = slice(start, min(start + self._chunk, self.count))
            lane = self._lanes[number % LANES]
            yield self._there(rows, Lane(*(part[:rows.stop - start] for part in lane)))
            back = (self._home(rows).waves, lane.waves[:rows.stop - start])
            self._free[number % LANES] = self._copies.keep([back]) if writing else self._copies.used()
        self._copies.settle()

    def part(self, chosen: slice) -> Active:
        """Some of the active frames, copied to where the kernel works if they are not there; they have no waves."""
        rows = np.arange(self.count)[chosen]
        near, far = rows[rows < self._held], rows[rows >= self._held] - self._held
        take, at = self._space.asarray, self._space.asarray(rows)
        amplitude = self._space.concatenate([self._amplitude[take(near)], take(self._far.amplitude[far])])
        return Active(amplitude, self._waves[:0], self._corners[at], self._weights[at], self._gains[at],
                      self._shifts[at])

    def _bring(self, number: int, starts: range) -> Any:
        home = self._home(slice(starts[number], min(starts[number] + self._chunk, self.count)))
        pairs = [(there, here[:len(there)]) for there, here in zip(home, self._lanes[number % LANES], strict=True)]
        return self._copies.bring(pairs, self._free[number % LANES])

    def _home(self, rows: slice) -> Lane:
        """Where frames that are not held wait."""
        there = slice(rows.start - self._held, rows.stop - self._held)
        return Lane(self._far.amplitude[there], self._far.waves[there])

    def _there(self, rows: slice, lane: Lane) -> Active:
        return Active(lane.amplitude, lane.waves, self._corners[rows], self._weights[rows], self._gains[rows],
                      self._shifts[rows])

    def _rooms(self, capacity: int, space: Any) -> tuple[Array, Array]:
        return super()._rooms(self._held, space)

    def _grow_rooms(self, capacity: int) -> None:
        kept = self._far
        shapes = [(capacity - self._held, *part.shape[1:]) for part in kept]
        self._far = Lane(*(self._copies.room(shape, part.dtype) for shape, part in zip(shapes, kept, strict=True)))
        for new, old in zip(self._far, kept, strict=True):
            new[:len(old)] = old

    def _keep(self, slots: Array, amplitude: Array, waves: Array) -> None:
        near, far = slots < self._held, slots >= self._held
        take = self._space.asarray
        if near.any():
            super()._keep(slots[near], amplitude[take(near)], waves[take(near)])
        if far.any():
            self._far.amplitude[slots[far] - self._held] = to_host(amplitude[take(far)])
            self._far.waves[slots[far] - self._held] = to_host(waves[take(far)])


def slots_for(capacity: int, modes: int, frame: tuple[int, int], real: np.dtype[Any], space: Any = np,
              room_bytes: float | None = None) -> Slots:
    """Slots that fit: all frames where the kernel works, or as many as `room_bytes` hold and the others on the host.

    Without `room_bytes` a host has room for all and a GPU what is free on it.
    """
    each = frame[0] * frame[1] * (real.itemsize + modes * 2 * real.itemsize)
    if room_bytes is None:
        if space is np:
            return Slots(capacity, modes, frame, real, space)
        room_bytes = (1 - SPARED) * (space.cuda.Device().mem_info[0] + space.get_default_memory_pool().free_bytes())
    if capacity * each <= room_bytes:
        return Slots(capacity, modes, frame, real, space)
    chunk = int(min(CHUNK_BYTES, room_bytes / (2 * LANES)) // each)
    held = int(room_bytes // each) - LANES * chunk
    return ChunkedSlots(capacity, modes, frame, real, space, held=max(0, held), chunk=chunk)
