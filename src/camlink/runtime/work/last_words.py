"""Last words: what a worker said at its good end, kept in a file until the run is over.

An agent may die with the Done of a worker in its hands. The next attempt then finds these words and repeats them,
instead of beginning with a journal that is gone already.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from camlink.errors import WireError
from camlink.runtime.messages import Done, WorkerSpec, decode, encode


def write_last_words(spec: WorkerSpec, done: Done) -> bool:
    """Keep them; False when the disk refuses, and then the journals have to stay."""
    path = _path(spec)
    try:
        path.with_suffix(".part").write_bytes(encode(done))
        path.with_suffix(".part").replace(path)
    except OSError:
        return False
    return True


def read_last_words(spec: WorkerSpec) -> Done | None:
    """What an earlier attempt of this worker said at its good end, as words of this attempt."""
    try:
        said = decode(_path(spec).read_bytes()) if spec.attempt else None
    except (OSError, WireError):
        return None
    if not isinstance(said, Done):
        return None
    return msgspec.structs.replace(said, attempt=spec.attempt, repeats=said.attempt)


def has_last_words(spec: WorkerSpec) -> bool:
    """Whether this worker came to a good end, whether its master heard of it or not."""
    return _path(spec).exists()


def _path(spec: WorkerSpec) -> Path:
    return Path(spec.folder) / "log" / f"{spec.operator}-{spec.replica}.done"
