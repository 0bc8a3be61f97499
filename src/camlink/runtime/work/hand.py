"""Hand: the name of the block that a worker holds, kept where it outlives the worker: who died of what can be told."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from camlink.block import Block, Frames
from camlink.errors import StorageError
from camlink.runtime.messages import WorkerSpec

_BYTES: Final = 256


def key_of(block: Block) -> str:
    """What a block is called however often it is sent: its source with its frames, or with its number."""
    head = block.header
    if isinstance(block, Frames) and block.count:
        return f"{head.source} {head.scan.id[:60]} frame {int(block.index[0])}+{block.count}"
    return f"{head.source} {head.scan.id[:60]} block {head.sequence}"


class Hand:
    """A mapped file of 256 bytes; what is written to it is there after a SIGKILL too."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._map = map_file(_path(spec), _BYTES)
        self.key = ""

    def take(self, block: Block) -> None:
        """From now on `block` is worked on."""
        self.key = key_of(block)
        self._map[:] = self.key.encode()[:_BYTES].ljust(_BYTES, b"\0")

    def holds(self, block: Block) -> bool:
        """Whether this block is the one that was taken last."""
        return self.key == key_of(block)

    def empty(self) -> None:
        """Nothing is worked on."""
        if self.key:
            self.key = ""
            self._map[0] = 0

    def close(self) -> None:
        """Empty it and close the file."""
        self.empty()
        self._map.close()


def map_file(path: Path, nbytes: int) -> mmap.mmap:
    """A file of mode 0600 in memory; raises StorageError.

    Its bytes are had before: a full disk ends with SIGBUS who writes to a map that lacks them.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, nbytes)
            return mmap.mmap(file, nbytes)
        finally:
            os.close(file)
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}; make room there") from None


def read_hand(spec: WorkerSpec) -> str:
    """The key of the block that an ended worker held; the file goes."""
    path = _path(spec)
    try:
        held = path.read_bytes()
        path.unlink()
    except OSError:
        return ""
    return held.partition(b"\0")[0].decode("utf8", "replace")


def _path(spec: WorkerSpec) -> Path:
    return Path(spec.sockets) / f"{spec.operator}-{spec.replica}-{spec.attempt}.hand"
