"""Spill: blocks on disk, in order, from the moment a link is full until they are acknowledged.

A file of records, only ever appended to: {magic, crc32, parts, frames, bytes}, the sizes of the parts, the parts. The
first line of the file tells up to where everything is acknowledged, so that the next attempt of a killed sender goes on
there: what was torn by the crash is cut off, what is damaged is lost with a reason, what is sent twice is marked. When
all is acknowledged the file is emptied; it never has more than its limit.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from camlink.carry.envelope import MAX_ARRAYS, MAX_BLOCK_BYTES
from camlink.errors import StorageError, WireError

DEFAULT_SPILL_BYTES: Final = 16 << 30
_MAGIC: Final = b"camlink spill 1\n"
_FIRST: Final = struct.Struct("<16sQ")  # magic, offset of the first record that is not acknowledged
_START: Final = struct.Struct("<4sI")  # magic, crc32 of all that follows
_COUNTS: Final = struct.Struct("<IIQ")  # parts, frames, bytes that follow
_RECORD: Final = struct.Struct("<4sIIIQ")  # both
_MARK: Final = b"rec\n"
MAX_FRAMES: Final = 1 << 20


class Record(NamedTuple):
    """Where a block lies in the file."""

    offset: int
    end: int
    frames: int


class Spill:
    """One file of blocks; `append` at its end, `next` and `pop` at its front, `done` once acknowledged."""

    def __init__(self, path: Path, limit_bytes: int = DEFAULT_SPILL_BYTES) -> None:
        self.path, self.limit_bytes = path, limit_bytes
        self.waiting: deque[Record] = deque()
        self.note = ""
        self._out: deque[Record] = deque()  # popped and not yet acknowledged
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._end = self._recover()
            except (OSError, StorageError):
                self.close(keep=True)
                raise
        except OSError as error:
            raise StorageError(f"cannot spill to {path}: {error.strerror}; choose another folder for the run") from None

    def append(self, parts: Sequence[Any], frames: int) -> bool:
        """Write a block behind the others; False when the limit is reached or the disk is full (`note` says so)."""
        buffers = [memoryview(part).cast("B") if memoryview(part).nbytes else b"" for part in parts]
        sizes = struct.pack(f"<{len(buffers)}Q", *[len(buffer) for buffer in buffers])
        nbytes = len(sizes) + sum(len(buffer) for buffer in buffers)
        if self._end + _RECORD.size + nbytes > self.limit_bytes:
            self.note = f"spill: its limit of {self.limit_bytes} bytes is reached"
            return False
        head = _COUNTS.pack(len(buffers), frames, nbytes) + sizes
        crc = zlib.crc32(head)
        for buffer in buffers:
            crc = zlib.crc32(buffer, crc)
        head = _START.pack(_MARK, crc) + head
        try:
            self._write([head, *buffers])
        except OSError as error:
            self.note = f"spill: {error.strerror} at {self._end} bytes"
            os.ftruncate(self._fd, self._end)
            return False
        self.waiting.append(Record(self._end, self._end + _RECORD.size + nbytes, frames))
        self._end += _RECORD.size + nbytes
        return True

    def next(self) -> list[bytes]:
        """The parts of the oldest block that waits; raises WireError when it is damaged."""
        count, body = self._read(self.waiting[0])
        parts, at = [], 8 * count
        for size in struct.unpack_from(f"<{count}Q", body):
            parts.append(bytes(body[at:at + size]))
            at += size
        return parts

    def _read(self, record: Record) -> tuple[int, memoryview]:
        """The number of parts and what follows it; raises WireError when it is damaged."""
        data = os.pread(self._fd, record.end - record.offset, record.offset)
        mark, crc, count, _, nbytes = _RECORD.unpack_from(data) if len(data) >= _RECORD.size else (b"", 0, 0, 0, 0)
        body = memoryview(data)[_RECORD.size:]
        if mark != _MARK or len(body) != nbytes or zlib.crc32(memoryview(data)[_START.size:]) != crc:
            raise WireError(f"{self.path}: the block at byte {record.offset} is damaged")
        return count, body

    def pop(self) -> Record:
        """The oldest block goes: it is in the custody of the link from here on, and on disk until `done`."""
        record = self.waiting.popleft()
        self._out.append(record)
        return record

    def drop(self) -> Record:
        """The oldest block that waits is given up."""
        record = self.waiting.popleft()
        if not self._out:
            self.done(0)
        return record

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
        return self._fd < 0

    def done(self, settled: int) -> None:
        """The oldest `settled` blocks that went are acknowledged, dropped or lost."""
        for _ in range(settled):
            self._out.popleft()
        if not self._out and not self.waiting:
            self._end = _FIRST.size
            os.ftruncate(self._fd, self._end)
        first = self._out[0] if self._out else self.waiting[0] if self.waiting else None
        os.pwrite(self._fd, _FIRST.pack(_MAGIC, first.offset if first else self._end), 0)

    def close(self, *, keep: bool) -> None:
        """Close the file; it is removed unless what it holds has to be kept for the next attempt."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not keep:
                self.path.unlink(missing_ok=True)

    def _write(self, buffers: list[Any]) -> None:
        at = self._end
        for buffer in buffers:
            view = memoryview(buffer)
            while len(view):
                written = os.pwrite(self._fd, view, at)
                at, view = at + written, view[written:]

    def _recover(self) -> int:
        """Find the records of an earlier attempt; cut off what it had not finished writing."""
        size = os.fstat(self._fd).st_size
        magic: bytes
        first: int
        magic, first = _FIRST.unpack(os.pread(self._fd, _FIRST.size, 0)) if size >= _FIRST.size else (b"", 0)
        if size >= _FIRST.size and magic != _MAGIC:
            raise StorageError(f"{self.path} is no spill file; move it away")
        if magic != _MAGIC or not _FIRST.size <= first <= size:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, _FIRST.pack(_MAGIC, _FIRST.size), 0)
            return _FIRST.size
        at = first
        while (record := self._record_at(at, size) or self._damaged_at(at, size)) is not None:
            self.waiting.append(record)
            at = record.end
        if at < size:
            self.note = f"spill: {size - at} bytes that were not finished before a crash were cut off"
            os.ftruncate(self._fd, at)
        return at

    def _damaged_at(self, at: int, size: int) -> Record | None:
        """What fills the file up to the next whole record; None at its torn end.

        Where no record begins, the one before may have a wrong size: then it goes for this one.
        """
        last = self.waiting[-1] if self.waiting else None
        begin = (last.offset if last else at) + 1
        with mmap.mmap(self._fd, size, access=mmap.ACCESS_READ) as whole:
            while (begin := whole.find(_MARK, begin)) >= 0:
                with suppress(WireError):
                    if found := self._record_at(begin, size):
                        self._read(found)
                        if last is not None and begin < at:
                            return Record(self.waiting.pop().offset, begin, last.frames)
                        return Record(at, begin, found.frames)  # as many as the next has, for all that is known
                begin += 1
        return None

    def _record_at(self, at: int, size: int) -> Record | None:
        head = os.pread(self._fd, _RECORD.size, at)
        if len(head) < _RECORD.size:
            return None
        mark, _, count, frames, nbytes = _RECORD.unpack(head)
        end = at + _RECORD.size + nbytes
        sane = mark == _MARK and 1 <= count <= MAX_ARRAYS + 1 and frames <= MAX_FRAMES
        return Record(at, end, frames) if sane and 8 * count <= nbytes <= MAX_BLOCK_BYTES and end <= size else None
