"""check_format: what every format of recorded scans must keep, ours and those of plug-ins."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from camlink.carry.formats.any_file import open_recorded
from camlink.carry.formats.format import HEAD_BYTES, Format
from camlink.errors import CamlinkError, FormatError
from camlink.testing.hostile import PAYLOADS
from camlink.testing.manners import bounded, said

CUTS: Final = 24
FLIPS: Final = 60
_TYPES: Final = {"index": np.int64, "point": np.int64, "kind": np.uint8, "dwell_s": np.float64, "time_s": np.float64,
                 "position_m": np.float64, "probe": np.complex64, "object": np.complex64, "mask": np.uint32}


class File(NamedTuple):
    """A format under test, a good file of it, and a folder for spoilt copies."""

    format: Format
    sample: Path
    folder: Path

    def spoilt(self, content: bytes) -> Path:
        """A copy with other content."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / self.sample.name
        path.write_bytes(content)
        return path


def check_known(file: File) -> None:
    """A file is told by its content, whatever it is called, and nothing else is taken for it."""
    content = file.sample.read_bytes()
    assert file.format.knows(file.sample, content[:HEAD_BYTES]), f"{file.format.title} does not know {file.sample}"
    renamed = file.folder / "renamed.bin"
    file.folder.mkdir(parents=True, exist_ok=True)
    renamed.write_bytes(content)
    assert file.format.knows(renamed, content[:HEAD_BYTES]), f"{file.format.title} goes by the name of the file"
    for name, payload in PAYLOADS.items():
        other = file.folder / "other.bin"
        other.write_bytes(payload)
        assert not file.format.knows(other, payload[:HEAD_BYTES]), f"{file.format.title} takes '{name}' for its own"


def check_columns(file: File) -> None:
    """The good file is read, whole, and its columns have the types that Recorded promises."""
    refused = said(lambda: file.format.read(file.sample).close())
    assert refused is None, f"{file.format.title} refuses its own sample: {refused}"
    with file.format.read(file.sample) as found:
        for name, kind in _TYPES.items():
            column = getattr(found, name)
            assert column is None or column.dtype == kind, f"column {name} is {column.dtype}, not {np.dtype(kind)}"
        assert found.probe is None or found.probe.ndim == 3
        assert found.object is None or found.object.ndim == 2


def check_slices(file: File) -> None:
    """Frames are the same however they are asked for; beyond the end there is nothing."""
    with file.format.read(file.sample) as found:
        if found.frames is None:
            return
        n = len(found.frames)
        whole = found.frames.read(0, n)
        assert whole.dtype == np.dtype(np.float32)
        assert whole.shape == found.frames.shape
        parts = [found.frames.read(k, k + 1) for k in range(n)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert len(found.frames.read(n, n + 3)) == 0
        assert len(found.frames.read(n - 1, n + 3)) == 1


def check_left_alone(file: File) -> None:
    """Reading changes nothing, closing twice is as good as once."""
    before = file.sample.read_bytes()
    found = file.format.read(file.sample)
    found.close()
    found.close()
    assert file.sample.read_bytes() == before, f"{file.format.title}: reading changed the file"


def check_let_go(file: File) -> None:
    """Nothing of a file stays open once it was closed, or refused."""
    with file.format.read(file.sample) as found:
        if found.frames is not None:
            found.frames.read(0, 1)
    assert not _open(file.sample), f"{file.format.title} keeps a file open that was closed"
    cut = file.spoilt(file.sample.read_bytes()[:-1])
    if said(lambda: file.format.read(cut).close()) is not None:
        assert not _open(cut), f"{file.format.title} keeps a file open that it refused"


def _open(path: Path) -> bool:
    gc.collect()
    return any(os.path.realpath(f"/proc/self/fd/{number}") == str(path.resolve())
               for number in os.listdir("/proc/self/fd"))


def check_missing(file: File) -> None:
    """A file that is not there is told of as such."""
    words = said(lambda: file.format.read(file.folder / "none"), FormatError)
    assert words is not None, f"{file.format.title} reads a file that is not there"
    assert "none" in words


def check_cut(file: File) -> None:
    """A file that was cut anywhere is read as far as it goes or refused with one of our exceptions, in bounded time."""
    content = file.sample.read_bytes()
    for step in range(CUTS):
        _survives(file, content[:len(content) * step // CUTS], f"cut after {step} of {CUTS} parts")


def check_flipped(file: File) -> None:
    """A file with a wrong byte anywhere is read or refused with one of our exceptions, in bounded time."""
    content = file.sample.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), FLIPS):
        wrong = bytearray(content)
        wrong[place] ^= 0xFF
        _survives(file, bytes(wrong), f"byte {place} wrong")


def check_hostile(file: File) -> None:
    """Whatever else calls itself such a file is refused with one of our exceptions, in bounded time."""
    head = file.sample.read_bytes()[:HEAD_BYTES]
    for name, payload in PAYLOADS.items():
        _survives(file, payload, name)
        _survives(file, head + payload, f"{name} after the right head")


def _survives(file: File, content: bytes, what: str) -> None:
    def read() -> None:
        path = file.spoilt(content)
        try:
            with file.format.read(path) as found:
                if found.frames is not None:
                    found.frames.read(0, len(found.frames)).sum()
        except CamlinkError:
            pass

    try:
        bounded(read, f"{file.format.title} with {what}")
    except Exception as error:  # whatever a plug-in raises instead of FormatError is the finding
        raise AssertionError(f"{file.format.title} with {what}: {type(error).__name__}: {error}; raise FormatError "
                             "with what, where and what to do") from error


FORMAT_CHECKS: Final[dict[str, Callable[[File], None]]] = {
    check.__name__.removeprefix("check_"): check for check in (
        check_known, check_columns, check_slices, check_left_alone, check_let_go, check_missing, check_cut,
        check_flipped, check_hostile)}


def check_format(file: File) -> None:
    """Run every check, and open the file as users do; raises AssertionError that says what is not kept."""
    for check in FORMAT_CHECKS.values():
        check(file)
    with open_recorded(file.sample) as found:
        assert found.path == file.sample
