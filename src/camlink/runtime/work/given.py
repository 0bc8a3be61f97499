"""Given: the frames of a source that need not come again, in a file that its next attempt reads."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from camlink.block import Block, Frames
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.flow import Outbox
from camlink.runtime.work.porter import JOURNALS


class Given:
    """Notes the frames of a scan once every link has settled them; the file begins with a line, the scan's id in JSON.

    A disk that refuses costs nothing but time: what is not noted comes again and is left out where it came before.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._path = path_of(spec)
        self._waiting: deque[tuple[Outbox, int, str, bytes]] = deque()
        self._scan: str | None = None
        self._file = -1
        if spec.attempt:
            self._scan, _ = _read(self._path)

    def note(self, outbox: Outbox, sequence: int, block: Block) -> None:
        """The source gave this block; what is settled by now goes to the file, in order."""
        if isinstance(block, Frames):
            indices = np.ascontiguousarray(block.index, "<i8").tobytes()
            self._waiting.append((outbox, sequence, block.scan.id, indices))
        while self._waiting and self._waiting[0][0].settled(self._waiting[0][1]):
            _, _, scan, indices = self._waiting.popleft()
            self._append(scan, indices)

    def close(self, *, well: bool) -> None:
        """Close the file; it goes when the source ended well."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if well:
            self._path.unlink(missing_ok=True)

    def _append(self, scan: str, indices: bytes) -> None:
        try:
            if self._file < 0 or scan != self._scan:
                again = 0 if scan == self._scan else os.O_TRUNC
                self.close(well=False)
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | again, 0o600)
                self._scan = None if again else scan
                if again and not self._write(msgspec.json.encode(scan) + b"\n"):
                    return
                self._scan = scan
            self._write(indices)
        except OSError:
            return  # see above

    def _write(self, data: bytes) -> bool:
        """Write all or nothing: what a full disk took of it would shift all that follows."""
        end = os.lseek(self._file, 0, os.SEEK_END)
        whole = os.write(self._file, data) == len(data)
        if not whole:
            os.ftruncate(self._file, end)
        return whole


def read_given(spec: WorkerSpec) -> frozenset[int]:
    """The frames that earlier attempts gave and nobody needs again."""
    return _read(path_of(spec))[1] if spec.attempt else frozenset()


def path_of(spec: WorkerSpec) -> Path:
    """The file of a source."""
    return Path(spec.folder) / JOURNALS / f"{spec.operator}-{spec.replica}.given"


def _read(path: Path) -> tuple[str | None, frozenset[int]]:
    try:
        line, newline, rest = path.read_bytes().partition(b"\n")
        scan = msgspec.json.decode(line, type=str) if newline else None
    except (OSError, msgspec.DecodeError):
        return None, frozenset()
    if scan is None:
        return None, frozenset()
    whole = len(rest) // 8 * 8  # a write that was cut
    return scan, frozenset(np.frombuffer(rest[:whole], "<i8").tolist())
