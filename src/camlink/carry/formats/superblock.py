"""The HDF5 superblock of versions 2 and 3: who has the file open, where it ends; clearing what a killed writer left.

HDF5 file format specification 3.0, section II.A: signature (8), version, size of offsets, size of lengths,
consistency flags, base, extension, end of file, root (one offset each), lookup3 checksum (4).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from camlink.errors import FormatError, StorageError

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
OPEN_FOR_WRITE: Final = 0x01
OPEN_FOR_SWMR: Final = 0x04
_U32: Final = 0xFFFFFFFF
_MOST_BYTES: Final = 12 + 4 * 8 + 4


class Superblock(NamedTuple):
    """What the first bytes of a file say: format version, consistency flags and the end of its content [byte]."""

    version: int
    flags: int
    end: int
    offset_bytes: int


def read_superblock(path: Path) -> Superblock | None:
    """The superblock at the start of the file, or None when there is none of version 2 or 3, or it is damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_BYTES)
    except OSError:
        return None
    return _parse(head)


def in_swmr_write(path: Path) -> bool:
    """Whether a writer has the file open for single writer, many readers; true too after that writer was killed."""
    found = read_superblock(path)
    return found is not None and bool(found.flags & OPEN_FOR_SWMR)


def is_marked(path: Path) -> bool:
    """Whether a program has the file open to write it, or was killed while it had."""
    found = read_superblock(path)
    return found is not None and found.flags != 0


def clear(path: Path) -> bool:
    """Take back the marks of a writer that is gone, so that any program opens the file; False when there were none.

    The end of file is set to the real one, since a killed writer may have appended after it last noted its end.
    Raises FormatError when the file has no superblock of version 2 or 3, StorageError when it cannot be written.
    """
    found = read_superblock(path)
    if found is None:
        raise FormatError(f"{path}: no intact HDF5 superblock of version 2 or 3, nothing can be recovered")
    if found.flags == 0:
        return False
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            head = closed_head(file.read(_MOST_BYTES), max(found.end, size))
            if size < found.end:
                file.truncate(found.end)
            file.seek(0)
            file.write(head)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path}: cannot be recovered in place ({error.strerror}); copy it to a folder "
                           "that you may write") from None
    return True


def closed_head(head: bytes, end: int) -> bytes:
    """The superblock in `head` without marks and with another end of file [byte]; empty when there is none."""
    found = _parse(head)
    if found is None:
        return b""
    width = found.offset_bytes
    body = 12 + 4 * width
    changed = bytearray(head[:body])
    changed[11] = 0
    changed[12 + 2 * width:12 + 3 * width] = end.to_bytes(width, "little")
    return bytes(changed) + lookup3(bytes(changed)).to_bytes(4, "little")


def _parse(head: bytes) -> Superblock | None:
    if len(head) < 12 or head[:8] != SIGNATURE or head[8] not in (2, 3) or head[9] not in (4, 8):
        return None
    width = head[9]
    body = 12 + 4 * width
    if len(head) < body + 4 or int.from_bytes(head[body:body + 4], "little") != lookup3(head[:body]):
        return None
    return Superblock(head[8], head[11], int.from_bytes(head[12 + 2 * width:12 + 3 * width], "little"), width)


def lookup3(data: bytes, initial: int = 0) -> int:
    """Bob Jenkins' `hashlittle` of 2006, the checksum of all HDF5 metadata."""
    a = b = c = (0xDEADBEEF + len(data) + initial) & _U32
    while len(data) > 12:
        a, b, c = _add(a, b, c, data[:12])
        a, b, c = _mix(a, b, c)
        data = data[12:]
    if not data:
        return c
    return _final(*_add(a, b, c, data.ljust(12, b"\0")))


def _add(a: int, b: int, c: int, twelve: bytes) -> tuple[int, int, int]:
    word = [int.from_bytes(twelve[k:k + 4], "little") for k in (0, 4, 8)]
    return (a + word[0]) & _U32, (b + word[1]) & _U32, (c + word[2]) & _U32


def _turn(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & _U32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for places in (4, 6, 8, 16, 19, 4):  # the roles of a, b, c move on by one each time, and are home after six
        a, b, c = b, (c + b) & _U32, ((a - c) & _U32) ^ _turn(c, places)
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for first, second, third in ((14, 11, 25), (16, 4, 14)):
        c = ((c ^ b) - _turn(b, first)) & _U32
        a = ((a ^ c) - _turn(c, second)) & _U32
        b = ((b ^ a) - _turn(a, third)) & _U32
    return ((c ^ b) - _turn(b, 24)) & _U32
