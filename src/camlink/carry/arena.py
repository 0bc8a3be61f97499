"""Arena: memory that one process writes and others on the same host read, with no name in any file system.

It is an anonymous file (memfd) that is handed over a unix socket: the kernel frees it when the last process that has it
ends, however it ends. It is sealed: nobody can shrink it under a reader, and nobody but its maker can write to it.
A block lies in one piece, the extent: a head (magic, version, parcel, size, sizes of the parts), then the parts, each
on a cache line. A reader takes nothing on trust: what the head says is compared with what was announced.
"""

from __future__ import annotations

import bisect
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from camlink.block import Array
from camlink.carry.envelope import MAX_ARRAYS, MAX_HEAD_BYTES
from camlink.errors import StorageError, WireError

MAGIC: Final = b"cmlk"
VERSION: Final = 1
LINE: Final = 64
_LITTLE: Final = 4096  # below this, a copy by way of bytes is faster
_HEAD: Final = struct.Struct("<4sHHQQ")  # magic, version, parts, parcel, bytes of the extent
_SIZES: Final = [struct.Struct(f"<{n}Q") for n in range(MAX_ARRAYS + 2)]
_FUTURE_WRITE: Final = 0x10  # F_SEAL_FUTURE_WRITE (Linux 5.1), which Python does not name
_SHAPE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW if hasattr(fcntl, "F_SEAL_SHRINK") else 0


def _up(nbytes: int) -> int:
    return (nbytes + LINE - 1) & -LINE


def measure(parts: Sequence[Any]) -> tuple[list[int], int]:
    """Bytes of each part, and of the extent that holds them all."""
    sizes = [part.nbytes if isinstance(part, np.ndarray) else len(part) for part in parts]
    return sizes, _up(_HEAD.size + 8 * len(sizes)) + sum(_up(size) for size in sizes)


def write_extent(memory: Array, offset: int, parcel: int, parts: Sequence[Any], sizes: list[int], total: int) -> None:
    """Copy the parts of a block into `memory` (uint8) at `offset`."""
    view = memory.data
    _HEAD.pack_into(view, offset, MAGIC, VERSION, len(sizes), parcel, total)
    _SIZES[len(sizes)].pack_into(view, offset + _HEAD.size, *sizes)
    at = offset + _up(_HEAD.size + 8 * len(sizes))
    for part, size in zip(parts, sizes, strict=True):
        if size < _LITTLE:
            view[at:at + size] = part.tobytes() if isinstance(part, np.ndarray) else part
        else:
            memory[at:at + size] = np.frombuffer(part, np.uint8)
        at += (size + LINE - 1) & -LINE


def read_extent(root: Array, parcel: int) -> list[Any]:
    """The parts of the block in `root` (uint8, one extent) as buffers; they keep `root` alive.

    Raises WireError when the head is not that of this parcel, or does not fit the extent.
    """
    view = root.data
    if len(root) < _HEAD.size:
        raise WireError(f"shared memory: an extent of {len(root)} bytes has no head")
    magic, version, count, number, total = _HEAD.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise WireError("shared memory: no block of this version stands where one was announced")
    if number != parcel or total != len(root):
        raise WireError(f"shared memory: parcel {parcel} ({len(root)} bytes) was announced, but {number} ({total} "
                        "bytes) stands there: its memory was used anew")
    at = _up(_HEAD.size + 8 * count)
    if not 1 <= count <= MAX_ARRAYS + 1 or at > total:
        raise WireError(f"shared memory: a block has 1 to {MAX_ARRAYS} arrays, this one has {count} parts")
    parts: list[Any] = []
    for size in _SIZES[count].unpack_from(view, _HEAD.size):
        if size > total - at:
            raise WireError(f"shared memory: a part of {size} bytes does not fit the {total - at} that are left")
        parts.append(view[at:at + size])
        at += _up(size)
    if parts[0].nbytes > MAX_HEAD_BYTES:
        raise WireError(f"shared memory: the head of a block is at most {MAX_HEAD_BYTES} bytes")
    parts[0] = bytes(parts[0])  # read once: what is checked is what is used
    return parts


def new_file(nbytes: int) -> int:
    """An anonymous file of that size; raises StorageError when there is no memory or no descriptor left."""
    try:
        fd = os.memfd_create("camlink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(fd, nbytes)
    except OSError as error:
        raise StorageError(f"no shared memory of {nbytes} bytes: {error.strerror}; lower the limit of the link, or "
                           "use `link: zmq`") from None
    return fd


def seal(fd: int) -> None:
    """From now on nobody resizes the file, and only mappings that exist may write."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SHAPE_SEALS)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FUTURE_WRITE)
    except OSError as error:
        if error.errno != errno.EINVAL:  # an older kernel does not know it
            raise


def map_file(fd: int, nbytes: int) -> mmap.mmap:
    """The file, read-only, of which a sender says that it has `nbytes`; closes `fd`.

    Raises WireError when it is smaller, or could become so under us.
    """
    try:
        if os.fstat(fd).st_size < nbytes or nbytes <= 0:
            raise WireError(f"shared memory: {nbytes} bytes were announced, {os.fstat(fd).st_size} are there")
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SHAPE_SEALS != _SHAPE_SEALS:
            raise WireError("shared memory: the sender could shrink it under its readers")
        return mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
    except OSError as error:
        raise WireError(f"shared memory: cannot be mapped: {error.strerror}") from None
    finally:
        os.close(fd)


class Arena:
    """The writer's side: extents are taken lowest first, so that warm memory is used again."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = _up(nbytes)
        self.fd = new_file(self.nbytes)
        self.memory: Array = np.frombuffer(mmap.mmap(self.fd, self.nbytes), np.uint8)
        seal(self.fd)
        self._free = [(0, self.nbytes)]  # offset and bytes, rising, never touching

    def take(self, nbytes: int) -> int:
        """Offset of a free extent; -1 when none is large enough."""
        for at, (offset, size) in enumerate(self._free):
            if size >= nbytes:
                if size == nbytes:
                    del self._free[at]
                else:
                    self._free[at] = (offset + nbytes, size - nbytes)
                return offset
        return -1

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
        return sum(size for _, size in self._free)

    def close(self) -> None:
        """Let go of the memory; it stays as long as a reader has it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self.memory = np.empty(0, np.uint8)


def new_piece(parcel: int, parts: Sequence[Any], sizes: list[int], total: int) -> int:
    """A sealed file of its own with one extent; raises StorageError when there is no memory left."""
    fd = new_file(total)
    try:
        write_extent(np.frombuffer(mmap.mmap(fd, total), np.uint8), 0, parcel, parts, sizes, total)
        seal(fd)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise StorageError(f"no shared memory for a block of {total} bytes: {error}") from None
    return fd
