"""Opening HDF5 files of others, also one that is being written or whose writer was killed; errors people can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from camlink.carry.formats import superblock
from camlink.carry.formats.snapshot import Snapshot
from camlink.errors import FormatError, StorageError

LIBRARY_ERRORS = (msgspec.MsgspecError, OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError,
                  IndexError, OverflowError, MemoryError)
"""What h5py raises over a file that is damaged or has something else where an array is expected."""


@contextmanager
def reading(where: str | Path, what: str) -> Iterator[None]:
    """Turn what HDF5 raises while `what` is read into a FormatError that names the file."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise FormatError(f"{where}: {what} cannot be read ({_brief(error)}); the file is damaged, incomplete or of "
                          "another layout") from error


@contextmanager
def writing(where: str | Path, what: str) -> Iterator[None]:
    """Turn what HDF5 raises while `what` is written into a StorageError that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{where}: {what} cannot be written ({_brief(error)}); free space or choose another folder. "
                           "What was flushed before is kept") from error


def open_hdf5(path: Path, *, marked: bool = False) -> Any:
    """The file as h5py.File, read-only; one with a living or killed SWMR writer is read as it is at this moment.

    `marked` takes any marks of a writer for those of a killed one: for files whose writers change them only in SWMR.

    Raises FormatError for a file that is missing, no HDF5 or truncated, StorageError when it may not be read.
    """
    import h5py
    import hdf5plugin  # noqa: F401 - registers the compression filters

    check_readable(path)
    try:
        as_it_is = superblock.is_marked(path) if marked else superblock.in_swmr_write(path)
        return h5py.File(Snapshot(path) if as_it_is else path, "r")
    except OSError as error:
        text = str(error)
        if "signature not found" in text:
            raise FormatError(f"{path}: not an HDF5 file") from None
        if "truncated" in text:
            raise FormatError(f"{path}: truncated, the copy or its writer stopped early ({_brief(error)})") from None
        if "unable to lock" in text:
            raise StorageError(f"{path}: held by a program that writes it without sharing; close it first") from None
        raise FormatError(f"{path}: HDF5 cannot open it ({_brief(error)})") from error
    except (RuntimeError, ValueError, KeyError, OverflowError) as error:
        raise FormatError(f"{path}: HDF5 cannot open it ({_brief(error)})") from error


def check_readable(path: Path) -> None:
    """Raise FormatError when there is no such file, StorageError when it may not be read."""
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise StorageError(f"{path}: may not be read ({error.strerror}); check its permissions") from None


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
