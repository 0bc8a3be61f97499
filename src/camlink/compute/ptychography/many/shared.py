"""Shared: the courier between processes of one host, through anonymous shared memory with a bell for each pair."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.errors import PeerLost

Array = NDArray[Any]
PATIENCE_S: Final = 120.0
"""What a rank may take for the step before an exchange."""
ALIGNED: Final = 64
HEAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Desk:
    """The file descriptors of one rank: the sheets of all ranks, and the bells that it rings and hears, by rank.

    A sheet is anonymous memory: it is gone with the last process that has it.
    """

    rank: int
    sheets: tuple[int, ...]
    rings: dict[int, int]
    hears: dict[int, int]

    @property
    def descriptors(self) -> list[int]:
        """All of them."""
        return [*self.sheets, *self.rings.values(), *self.hears.values()]

    @staticmethod
    def several(ranks: int) -> list[Desk]:
        """Desks for `ranks` ranks; whoever hands one over closes its bells, or the end of a rank is not heard."""
        sheets = [new_sheet(f"camlink-rank-{rank}") for rank in range(ranks)]
        desks = [Desk(rank, tuple(sheets), {}, {}) for rank in range(ranks)]
        for one in desks:
            for other in desks:
                if one is not other:
                    other.hears[one.rank], one.rings[other.rank] = os.pipe()
        return desks

    def anybody_gone(self) -> int | None:
        """A rank whose bells are closed, or None."""
        poll = select.poll()
        for descriptor in self.hears.values():
            poll.register(descriptor, 0)  # the end is told without being asked for
        ended = {descriptor for descriptor, _ in poll.poll(0)}
        return next((rank for rank, descriptor in self.hears.items() if descriptor in ended), None)

    def leave(self) -> None:
        """Close the bells."""
        for descriptor in (*self.rings.values(), *self.hears.values()):
            os.close(descriptor)
        self.rings.clear()
        self.hears.clear()


class Sheet:
    """Memory that one rank writes and others read, in two turns, so that nobody writes what is still being read.

    Each turn begins with an index of what lies where. A turn that is too small moves to the end of the file, which
    grows.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._places = [(2 * HEAD_BYTES, 0), (2 * HEAD_BYTES, 0)]
        self._memory = mmap.mmap(descriptor, 0)

    def write(self, turn: int, entries: Mapping[int, Sequence[Array]]) -> None:
        """Put lists of contiguous arrays on the sheet, each under a number."""
        need = sum(_aligned(array.nbytes) for arrays in entries.values() for array in arrays)
        start, size = self._places[turn]
        if need > size:
            start, size = os.fstat(self._descriptor).st_size, need
            os.ftruncate(self._descriptor, start + size)
            self._memory = mmap.mmap(self._descriptor, 0)
            self._places[turn] = start, size
        index: dict[int, int] = {}
        for number, arrays in entries.items():
            index[number] = start
            for array in arrays:
                self._view(start, array.dtype, array.shape)[...] = array
                start += _aligned(array.nbytes)
        head = msgspec.msgpack.encode(index)
        self._memory[turn * HEAD_BYTES:turn * HEAD_BYTES + len(head) + 4] = len(head).to_bytes(4, "little") + head

    def read(self, turn: int, number: int, like: Sequence[Array]) -> list[Array]:
        """Views of the arrays under a number, with the types and shapes of `like`."""
        head = turn * HEAD_BYTES
        length = int.from_bytes(self._memory[head:head + 4], "little")
        start = msgspec.msgpack.decode(self._memory[head + 4:head + 4 + length], type=dict[int, int])[number]
        end = start + sum(_aligned(array.nbytes) for array in like)
        if end > len(self._memory):
            self._memory = mmap.mmap(self._descriptor, 0)
        views = []
        for array in like:
            views.append(self._view(start, array.dtype, array.shape))
            start += _aligned(array.nbytes)
        return views

    def _view(self, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._memory, dtype, count, start).reshape(shape)


class SharedCourier:
    """Everybody writes on a sheet of his own, rings, waits for the bells of all others, and reads theirs."""

    def __init__(self, desk: Desk, patience_s: float = PATIENCE_S) -> None:
        self.rank = desk.rank
        self._desk = desk
        self._patience_s = patience_s
        self._sheets = [Sheet(descriptor) for descriptor in desk.sheets]
        self._turn = 0

    def trade(self, parcels: Mapping[int, Sequence[Array]], sums: Sequence[Array]) -> dict[int, list[Array]]:
        """See Courier.trade; sums are added in the order of the ranks."""
        self._turn = 1 - self._turn
        self._sheets[self.rank].write(self._turn, {**parcels, self.rank: sums})
        self._meet()
        received = {other: self._sheets[other].read(self._turn, self.rank, like) for other, like in parcels.items()}
        if sums:
            every = [sheet.read(self._turn, rank, sums) for rank, sheet in enumerate(self._sheets)]
            for total, *parts in zip(sums, *every, strict=True):
                total[...] = parts[0]
                for part in parts[1:]:
                    total += part
        return received

    def highest(self, value: Any) -> float:
        """The highest `value` of all ranks."""
        self._turn = 1 - self._turn
        mine = np.array([value], np.float64)
        self._sheets[self.rank].write(self._turn, {self.rank: [mine]})
        self._meet()
        return max(float(sheet.read(self._turn, rank, [mine])[0][0]) for rank, sheet in enumerate(self._sheets))

    def wait(self, event: Any) -> None:
        """Wait for the GPU; nobody else is waited for."""
        event.synchronize()

    def close(self) -> None:
        """Nothing is held that does not go by itself."""

    def _meet(self) -> None:
        """Ring, and wait for all others.

        The bells also order the memory: a system call lies between what one writes and another reads.
        """
        for other, ring in self._desk.rings.items():
            try:
                os.write(ring, b"!")
            except BrokenPipeError:
                raise PeerLost(f"rank {other} of the reconstruction is gone") from None
        for other, bell in self._desk.hears.items():
            if not heard(bell, self._patience_s):
                raise PeerLost(f"rank {other} of the reconstruction did not come to the exchange within "
                               f"{self._patience_s:g} s")
            if not os.read(bell, 1):
                raise PeerLost(f"rank {other} of the reconstruction is gone")


def new_sheet(name: str) -> int:
    """Anonymous memory that only grows: whoever shrank it would take it from under those who look."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 2 * HEAD_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def heard(descriptor: int, timeout_s: float) -> bool:
    """Whether there is something to read, or the end, within that time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1e3 * timeout_s))


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
