"""Putting a CXI file in order after its writer was killed: marks cleared, half rows cut, the last result shown."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, NamedTuple

from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats import superblock
from camlink.carry.formats.cxi_write import show
from camlink.carry.formats.hdf5 import check_readable, open_hdf5, reading, writing
from camlink.carry.formats.result import committed_rows, read_version
from camlink.errors import FormatError, StorageError


class Recovery(NamedTuple):
    """What `recover` found: whether there was anything to do, and what the file holds now."""

    needed: bool
    frames: int
    version: int


def recover(path: Path | str) -> Recovery:
    """Put the file in order in place, so that every program opens it; does nothing to a file that was closed.

    Raises StorageError while its writer lives on this machine or the file cannot be written, FormatError when the
    file was not written by camlink.
    """
    path = Path(path)
    check_readable(path)
    with open_hdf5(path) as file, reading(path, "what camlink left there"):
        if at.OWN not in file:
            raise FormatError(f"{path}: was not written by camlink, only its own files are put in order")
        writer = _text(file[f"{at.OWN}/writer"][()])
    needed = superblock.in_swmr_write(path)
    if needed and _lives(writer):
        raise StorageError(f"{path}: process {writer.split()[1]} still writes it; let it end first")
    superblock.clear(path)
    return _tidy(path, needed)


def _tidy(path: Path, needed: bool) -> Recovery:
    import h5py

    with writing(path, "its recovered form"), h5py.File(path, "r+" if needed else "r") as file:
        count = committed_rows(file)
        found = read_version(file)
        if needed:
            for name in (f"{at.DETECTOR}/data", f"{at.GEOMETRY}/translation", f"{at.DETECTOR}/index",
                         *(column for _, column in at.COLUMNS.values())):
                file[name].resize(count, 0)
            if found is not None:
                show(file, found.image, found.probe, found.row)
        return Recovery(needed, count, -1 if found is None else int(found.row["version"]))


def _lives(writer: str) -> bool:
    import psutil

    try:
        host, process, created = writer.rsplit(" ", 2)
        return host == platform.node() and abs(psutil.Process(int(process)).create_time() - float(created)) < 1.0
    except (ValueError, psutil.Error):
        return False


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
