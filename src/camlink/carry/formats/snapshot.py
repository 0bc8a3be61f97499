"""Snapshot: the file of a living or killed SWMR writer, shown to HDF5 as a file that was closed.

HDF5's own SWMR reader waits and tries again when a checksum fails, up to a hundred times and twice as long each time:
over a file that was cut it never comes back. Read as a closed file the same damage is an error at once, and whoever
reads beside a living writer opens again.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Final

from camlink.carry.formats.superblock import closed_head

_ROOM_BYTES: Final = 1 << 40


class Snapshot(io.RawIOBase):
    """A read-only file with another head; past the real end it reads as zeros, since a living file grows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # addresses behind the end of this moment are legal in a file that grows
        self._end = os.fstat(self._fd).st_size + _ROOM_BYTES
        self._head = closed_head(os.pread(self._fd, 64, 0), self._end)
        self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset; returns where that is."""
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the whole buffer from here."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := os.preadv(self._fd, [view[done:]], self._at + done)):
            done += count
        view[done:] = bytes(len(view) - done)
        if self._at < len(self._head):
            overlap = self._head[self._at:self._at + len(view)]
            view[:len(overlap)] = overlap
        self._at += len(view)
        return len(view)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if not self.closed:
            os.close(self._fd)
        super().close()
