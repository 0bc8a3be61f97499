"""Putting a CXI file in order after its writer was killed: marks cleared, half rows cut, the last result shown."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Final, NamedTuple

from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats import superblock
from camlink.carry.formats.cxi_write import open_to_go_on, show
from camlink.carry.formats.hdf5 import check_readable, open_hdf5, reading, writing
from camlink.carry.formats.result import Version, committed_rows, read_version
from camlink.errors import FormatError, StorageError

NOBODY: Final = "nobody"
"""Stands in place of the writer in a file that was put in order, and tells that nothing is left to do."""


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
    marked = superblock.is_marked(path)
    with open_hdf5(path, marked=True) as file, reading(path, "what camlink left there"):
        if at.OWN not in file:
            raise FormatError(f"{path}: was not written by camlink, only its own files are put in order")
        writer = _text(file[f"{at.OWN}/writer"][()])
        if not marked and (writer == NOBODY or _text(file[f"{at.ENTRY}/end_time"][()])):
            return Recovery(False, *_holds(file, read_version(file)))
        _read_all(file)
    if _lives(writer):
        raise StorageError(f"{path}: process {writer.split()[1]} still writes it; let it end first")
    superblock.clear(path)
    with writing(path, "its recovered form"), open_to_go_on(path) as file:
        return _tidy(file)


def _read_all(file: Any) -> None:
    """Every object and index once: whoever writes in SWMR waits without end for what is damaged to become whole."""
    import h5py

    def look(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and found.chunks is not None:
            found.id.get_num_chunks()

    file.visititems(look)
    read_version(file)


def _tidy(file: Any) -> Recovery:
    """Cut half rows and show the last version; a kill on the way leaves a file that needs it still."""
    found = read_version(file)
    count, version = _holds(file, found)
    for name in (f"{at.DETECTOR}/data", f"{at.GEOMETRY}/translation", f"{at.DETECTOR}/index",
                 *(column for _, column in at.COLUMNS.values())):
        file[name].resize(count, 0)
    if found is not None:
        show(file, found.image, found.probe, found.row)
    file.flush()
    file[f"{at.OWN}/writer"][()] = NOBODY.encode()
    return Recovery(True, count, version)


def _holds(file: Any, found: Version | None) -> tuple[int, int]:
    return committed_rows(file), -1 if found is None else int(found.row["version"])


def _lives(writer: str) -> bool:
    import psutil

    try:
        host, process, created = writer.rsplit(" ", 2)
        return host == platform.node() and abs(psutil.Process(int(process)).create_time() - float(created)) < 1.0
    except (ValueError, psutil.Error):
        return False


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
