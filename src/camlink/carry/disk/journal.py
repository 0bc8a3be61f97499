"""Journal: blocks appended to a file as they would travel, with a checksum each; readable after any crash.

A record is a head {magic, parts, bytes, CRC-32 of all parts}, the size of each part, and the parts of the envelope.
What was appended before a process was killed is in the file; a record that was cut ends the reading. Who goes on from a
journal reads past what is damaged, to the next whole record (decision 41).
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from camlink.block import Block, Result
from camlink.carry.envelope import MAX_ARRAYS, MAX_BLOCK_BYTES, decode, encode
from camlink.errors import FormatError, StorageError, WireError

MAGIC: Final = b"CLB1"
_HEAD: Final = struct.Struct("<4sIQI")
SUFFIX: Final = ".blocks"


class Damage(NamedTuple):
    """The bytes of a file from `begin` to `end` hold no whole block."""

    path: Path
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.path}: the bytes {self.begin} to {self.end} are damaged, and what they held is left out"


class Journal:
    """What an operator took and would need again: its next attempt reads it before the links go on.

    Frames and plans are appended; of results only the newest of each source is kept. Raises StorageError when the
    disk refuses. `damage` is what was found of it in the replay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._file = -1
        self._end = 0

    def replay(self) -> Iterator[Block]:
        """What earlier attempts left, results last; a record that was cut is taken off the file, damage stays there."""
        if self.path.exists():
            for block, end in _whole_records(self.path, self.damage):
                self._end = end
                yield block
            os.truncate(self.path, max([self._end, *(one.end for one in self.damage)]))
        for path in sorted(self.path.parent.glob(f"{self.path.stem}.*.newest")):
            yield from (block for block, _ in _whole_records(path, self.damage))

    def append(self, block: Block) -> None:
        """Keep a block."""
        if isinstance(block, Result):
            newest = self.path.with_name(f"{self.path.stem}.{block.header.source}.newest")
            part = newest.with_suffix(".part")
            part.unlink(missing_ok=True)  # an attempt may have been killed over it
            write_blocks(part, block)
            part.replace(newest)
            return
        if self._file < 0:
            self._file = _open(self.path)
        _write(self._file, block, self.path)

    def close(self, *, remove: bool) -> None:
        """Close the file; `remove` when nobody needs it any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if remove:
            for path in (self.path, *self.path.parent.glob(f"{self.path.stem}.*.newest")):
                path.unlink(missing_ok=True)


def write_blocks(path: Path, *blocks: Block) -> None:
    """Append blocks to a file, which is made when it is not there; raises StorageError."""
    file = _open(path)
    try:
        for block in blocks:
            _write(file, block, path)
    finally:
        os.close(file)


def read_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a file in order, up to a record that was cut.

    Raises FormatError when the file is none of ours or damaged in its middle.
    """
    return (block for block, _ in _records(path))


def map_blocks(path: Path, damage: list[Damage] | None = None) -> Iterator[Block]:
    """As read_blocks, but large arrays stay in the file until somebody looks at them, and need not be aligned.

    Nobody may write or cut the file while a block lives. With `damage` what is damaged is told there and left out.
    """
    return (block for block, _ in (
        _records(path, _mapped) if damage is None else _whole_records(path, damage, _mapped)))


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from None


def _write(file: int, block: Block, path: Path) -> None:
    parts = [memoryview(part).cast("B") for part in encode(block)]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    sizes = [part.nbytes for part in parts]
    head = _HEAD.pack(MAGIC, len(parts), sum(sizes), crc) + struct.pack(f"<{len(parts)}Q", *sizes)
    begin = os.fstat(file).st_size
    wanted, done = len(head) + sum(sizes), 0
    try:
        done = os.writev(file, [head, *parts])
        while done < wanted:  # interrupted, or the disk is all but full: the rest says which
            done += os.write(file, b"".join((head, *parts))[done:])
    except OSError as error:
        with suppress(OSError):  # what is no plain file cannot be cut
            os.truncate(file, begin)
        raise StorageError(f"{path}: {error.strerror} after {begin} bytes; make room on that disk") from None


def _mapped(file: BinaryIO) -> Callable[[int], memoryview]:
    """Like file.read, without reading."""
    whole, at = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), file.tell()

    def take(count: int) -> memoryview:
        nonlocal at
        at += count
        return whole[at - count:at]

    return take


Reader = Callable[[BinaryIO], Callable[[int], Any]]


def _plain(file: BinaryIO) -> Callable[[int], bytes]:
    return file.read


def _whole_records(path: Path, damage: list[Damage], reader: Reader = _plain) -> Iterator[tuple[Block, int]]:
    """As _records, but goes on behind what is damaged, which is told."""
    begin: int | None = 0
    while begin is not None:
        end, cut = begin, True
        try:
            for block, at in _records(path, reader, begin):
                end = at
                yield block, end
        except FormatError:
            cut = False
        begin = _next_record(path, end + 1)
        if begin is not None or not cut:
            damage.append(Damage(path, end, begin or path.stat().st_size))


def _next_record(path: Path, begin: int) -> int | None:
    """Where the first whole record from `begin` on lies, if there is one."""
    if begin >= path.stat().st_size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        while (begin := whole.find(MAGIC, begin)) >= 0:
            with suppress(FormatError):
                if next(_records(path, begin=begin), None) is not None:
                    return begin
            begin += 1
    return None


def _records(path: Path, reader: Reader = _plain, begin: int = 0) -> Iterator[tuple[Block, int]]:
    """Blocks from the byte `begin` on, with the offset behind each."""
    with path.open("rb") as file:
        file.seek(begin)
        left, at = os.fstat(file.fileno()).st_size - begin, begin
        read = reader(file) if left else file.read
        while left >= _HEAD.size:
            magic, count, total, crc = _HEAD.unpack(read(_HEAD.size))
            if magic != MAGIC or not 0 < count <= MAX_ARRAYS + 1 or total > MAX_BLOCK_BYTES:
                raise FormatError(f"{path}, byte {at}: no record of blocks begins here")
            size = _HEAD.size + 8 * count + total
            if left < size:
                return
            sizes = struct.unpack(f"<{count}Q", read(8 * count))
            if sum(sizes) != total:
                raise FormatError(f"{path}, byte {at}: the parts of the record are {sum(sizes)} bytes, not {total}")
            parts = [read(n) for n in sizes]
            found = 0
            for part in parts:
                found = zlib.crc32(part, found)
            at, left = at + size, left - size
            if found != crc:
                if not left:
                    return  # cut by a crash in the middle of its writing
                raise FormatError(f"{path}, byte {at - size}: the checksum of the record is wrong")
            try:
                yield decode(parts), at
            except WireError as error:
                raise FormatError(f"{path}, byte {at - size}: {error}") from None
