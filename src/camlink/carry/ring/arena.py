"""Arena: memory that one process writes and others on the same host read, with no name in any file system.

It is an anonymous file (memfd) that is handed over a unix socket: the kernel frees it when the last process that has it
ends, however it ends. It is sealed: nobody can shrink it under a reader, and nobody but its maker can write to it.
A block lies in one piece, the extent: a head (magic, version, parcel, size, and for each part where it is), then the
parts, each on a cache line. A part that lies in the arena of another process already is not copied: the head names that
arena. A reader takes nothing on trust: what the head says is compared with what was announced.
"""

from __future__ import annotations

import bisect
import errno
import fcntl
import math
import mmap
import os
import struct
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from camlink.block import Array
from camlink.carry.envelope import INLINE_BYTES, MAX_ARRAYS, MAX_HEAD_BYTES
from camlink.errors import StorageError, WireError

MAGIC: Final = b"cmlk"
VERSION: Final = 2
LINE: Final = 64
HERE: Final = 0  # the arena of a part that lies in the same extent as its head
_LITTLE: Final = 4096  # below this, a copy by way of bytes is faster
_HEAD: Final = struct.Struct("<4sHHQQ")  # magic, version, parts, parcel, bytes of the extent
_PLACES: Final = [struct.Struct(f"<{3 * n}Q") for n in range(MAX_ARRAYS + 2)]  # arena, offset, bytes of each part
_FUTURE_WRITE: Final = 0x10  # F_SEAL_FUTURE_WRITE (Linux 5.1), which Python does not name
_SHAPE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW if hasattr(fcntl, "F_SEAL_SHRINK") else 0


class Mapping:
    """Memory of a sender as a receiver has it, read-only; `foreign` when it is not handed on to anybody else."""

    def __init__(self, fd: int, nbytes: int, *, foreign: bool = False) -> None:
        self.memory = map_file(fd, nbytes)
        self.fd, self.nbytes, self.foreign = fd, nbytes, foreign
        self.address = np.frombuffer(self.memory, np.uint8).__array_interface__["data"][0]
        if foreign:
            os.close(fd)
            self.fd = -1
        else:
            weakref.finalize(self, os.close, fd)

    def root(self) -> Lent:
        """A new array over all of it: while anything that was made of this array lives, its block is looked at."""
        root = Lent((self.nbytes,), np.uint8, self.memory)
        root.mapping = self
        return root


class Lent(np.ndarray[tuple[int], np.dtype[np.uint8]]):
    """An array over shared memory, of another process or of ours, which knows where it lies."""

    mapping: Shared


class Room(Lent):
    """A writable extent of our own arena, which is free again when nothing refers to it any more."""

    offset: int

    def __del__(self) -> None:
        mapping = getattr(self, "mapping", None)
        if mapping is not None:
            mapping.vacant.append((self.offset, self.nbytes))  # in any thread, at any moment: only noted here


def place_of(part: Any) -> tuple[Shared, int] | None:
    """Where a contiguous array lies in shared memory; None when it has to be copied.

    What came by way of a third process is copied: the death of that process must not free what we hand on.
    """
    base = part
    for _ in range(8):
        if isinstance(base, Lent):
            mapping = getattr(base, "mapping", None)
            if mapping is None or (isinstance(mapping, Mapping) and mapping.foreign):
                return None
            return mapping, part.__array_interface__["data"][0] - mapping.address
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
        if base is None:
            return None
    return None


class Plan(NamedTuple):
    """How a block will lie: for each part (arena, offset, bytes), the bytes of the extent, and the arenas of others."""

    places: list[int]
    nbytes: int
    others: tuple[Shared, ...]


def plan(parts: Sequence[Any], number_of: Callable[[Shared], int]) -> Plan:
    """Where each part of a block goes; `number_of` numbers the arenas of others."""
    at = _up(_HEAD.size + 24 * len(parts))
    places: list[int] = []
    others: tuple[Shared, ...] = ()
    for part in parts:
        size = part.nbytes if isinstance(part, np.ndarray) else len(part)
        found = place_of(part) if size > INLINE_BYTES and isinstance(part, np.ndarray) else None
        if found is not None:
            places += (number_of(found[0]), found[1], size)
            others = (*others, found[0])
        else:
            places += (HERE, at, size)
            at += (size + LINE - 1) & -LINE
    return Plan(places, at, others)


def _up(nbytes: int) -> int:
    return (nbytes + LINE - 1) & -LINE


def write_extent(memory: Array, offset: int, parcel: int, parts: Sequence[Any], planned: Plan) -> None:
    """Copy what has to be copied of a block into `memory` (uint8) at `offset`."""
    view, places = memory.data, planned.places
    _HEAD.pack_into(view, offset, MAGIC, VERSION, len(parts), parcel, planned.nbytes)
    _PLACES[len(parts)].pack_into(view, offset + _HEAD.size, *places)
    for number, part in enumerate(parts):
        arena, at, size = places[3 * number:3 * number + 3]
        at += offset
        if arena != HERE:
            continue
        if size < _LITTLE:
            view[at:at + size] = part.tobytes() if isinstance(part, np.ndarray) else part
        else:
            memory[at:at + size] = np.frombuffer(part, np.uint8)


def read_extent(root: Array, offset: int, nbytes: int, parcel: int,
                other: Callable[[int], Array]) -> list[Any]:
    """The parts of the block in `root` (uint8) at `offset` as buffers; they keep `root`, or that of `other`, alive.

    Raises WireError when the head is not that of this parcel, or a part does not fit where it is said to be.
    """
    view = root.data
    if nbytes < _HEAD.size or offset + nbytes > len(view):
        raise WireError(f"shared memory: no block lies at bytes {offset} to {offset + nbytes} of {len(view)}")
    magic, version, count, number, total = _HEAD.unpack_from(view, offset)
    if magic != MAGIC or version != VERSION:
        raise WireError("shared memory: no block of this version stands where one was announced")
    if number != parcel or total != nbytes:
        raise WireError(f"shared memory: parcel {parcel} ({nbytes} bytes) was announced, but {number} ({total} "
                        "bytes) stands there: its memory was used anew")
    if not 1 <= count <= MAX_ARRAYS + 1 or _HEAD.size + 24 * count > nbytes:
        raise WireError(f"shared memory: a block has 1 to {MAX_ARRAYS} arrays, this one has {count} parts")
    places = _PLACES[count].unpack_from(view, offset + _HEAD.size)
    parts: list[Any] = []
    for arena, at, size in zip(places[::3], places[1::3], places[2::3], strict=True):
        if arena == HERE:
            within, at, end = view, offset + at, offset + nbytes
        else:
            within = other(arena).data
            end = len(within)
        if at + size > end:
            raise WireError(f"shared memory: a part of {size} bytes at {at} does not fit the {end} that there are")
        parts.append(within[at:at + size])
    if len(parts[0]) > MAX_HEAD_BYTES:
        raise WireError(f"shared memory: the head of a block is at most {MAX_HEAD_BYTES} bytes")
    parts[0] = bytes(parts[0])  # read once: what is checked is what is used
    return parts


def new_file(nbytes: int) -> int:
    """An anonymous file of that size; raises StorageError when there is no memory or no descriptor left."""
    try:
        fd = os.memfd_create("camlink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _no_memory(nbytes, error) from None
    try:
        os.truncate(fd, nbytes)
    except (OSError, OverflowError) as error:
        os.close(fd)
        raise _no_memory(nbytes, error) from None
    return fd


def _no_memory(nbytes: int, error: Exception) -> StorageError:
    return StorageError(f"no shared memory of {nbytes} bytes: {error}; lower the limit of the link, or use `link: zmq`")


def seal(fd: int) -> None:
    """From now on nobody resizes the file, and only mappings that exist may write."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SHAPE_SEALS)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FUTURE_WRITE)
    except OSError as error:
        if error.errno != errno.EINVAL:  # an older kernel does not know it
            raise


def map_file(fd: int, nbytes: int) -> mmap.mmap:
    """The file, read-only, of which a sender says that it has `nbytes`; closes `fd` when it raises.

    Raises WireError when it is smaller, or could become so under us.
    """
    try:
        if os.fstat(fd).st_size < nbytes or nbytes <= 0:
            raise WireError(f"shared memory: {nbytes} bytes were announced, {os.fstat(fd).st_size} are there")
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SHAPE_SEALS != _SHAPE_SEALS:
            raise WireError("shared memory: the sender could shrink it under its readers")
        return mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
    except OSError as error:
        os.close(fd)
        raise WireError(f"shared memory: cannot be mapped: {error.strerror}") from None
    except WireError:
        os.close(fd)
        raise


class Arena:
    """The writer's side: extents are taken lowest first, so that warm memory is used again.

    `retired` when a receiver was lost while it looked: nothing is written here any more.
    """

    def __init__(self, nbytes: int, number: int = 1) -> None:
        self.number = number
        self.retired = False
        self.nbytes = _up(nbytes)
        self.fd = new_file(self.nbytes)
        self._shut = weakref.finalize(self, os.close, self.fd)
        try:
            self._map: mmap.mmap | None = mmap.mmap(self.fd, self.nbytes)
        except OSError as error:
            self._shut()
            raise _no_memory(self.nbytes, error) from None
        self.memory: Array = np.frombuffer(self._map, np.uint8)
        self.view = self.memory.data
        self.address: int = self.memory.__array_interface__["data"][0]
        self.vacant: deque[tuple[int, int]] = deque()
        self._rooms = 0
        seal(self.fd)
        self._free = [(0, self.nbytes)]  # offset and bytes, rising, never touching

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """A writable array (shape) that readers will see where it lies; None when there is no room."""
        nbytes = _up(math.prod(shape) * dtype.itemsize)
        offset = self.take(nbytes) if nbytes else -1
        if offset < 0:
            return None
        root = Room((nbytes,), np.uint8, self._map, offset)  # of no array: NumPy would look through it
        root.mapping, root.offset = self, offset
        self._rooms += 1
        return np.ndarray(shape, dtype, root.data)

    def take(self, nbytes: int, *, top: bool = False) -> int:
        """Offset of a free extent; -1 when none is large enough. A head goes to the `top`: it breaks up no room."""
        if self.vacant:
            self.vacate()
        if top and self._free and self._free[-1][1] > nbytes:
            offset, size = self._free[-1]
            self._free[-1] = (offset, size - nbytes)
            return offset + size - nbytes
        for at, (offset, size) in enumerate(self._free):
            if size >= nbytes:
                if size == nbytes:
                    del self._free[at]
                else:
                    self._free[at] = (offset + nbytes, size - nbytes)
                return offset
        return -1

    def vacate(self) -> bool:
        """Take back the rooms that nothing refers to; True when all of the arena is free."""
        while self.vacant:
            self.give(*self.vacant.popleft())
            self._rooms -= 1
        return len(self._free) == 1 and self._free[0][1] == self.nbytes

    def give(self, offset: int, nbytes: int) -> None:
        """The extent is free again."""
        free = self._free
        at = bisect.bisect(free, (offset, 0))
        if at < len(free) and free[at][0] == offset + nbytes:
            nbytes += free.pop(at)[1]
        if at and sum(free[at - 1]) == offset:
            offset, before = free.pop(at - 1)
            nbytes += before
            at -= 1
        free.insert(at, (offset, nbytes))

    @property
    def free_bytes(self) -> int:
        """Bytes in no extent."""
        self.vacate()
        return sum(size for _, size in self._free)

    def close(self) -> None:
        """Let go of the memory; it stays as long as a reader has it, or somebody writes in a room of it."""
        self.vacate()
        if not self._rooms and self._shut.alive:
            self._shut()
            self.fd = -1
            self.memory = np.empty(0, np.uint8)
            self.view = self.memory.data
            self._map = None


Shared = Mapping | Arena


def new_piece(parcel: int, parts: Sequence[Any], planned: Plan) -> int:
    """A sealed file of its own with one extent; raises StorageError when there is no memory left."""
    fd = new_file(planned.nbytes)
    try:
        write_extent(np.frombuffer(mmap.mmap(fd, planned.nbytes), np.uint8), 0, parcel, parts, planned)
        seal(fd)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise StorageError(f"no shared memory for a block of {planned.nbytes} bytes: {error}") from None
    return fd
