"""Going on in a CXI file whose writer was killed: its marks are cleared, and it grows again where it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camlink.block import Scan
from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats.cxi_write import CxiWriter, open_to_go_on, scan_text, writer_text
from camlink.carry.formats.hdf5 import open_hdf5, reading, writing
from camlink.carry.formats.recover import recover
from camlink.errors import FormatError, StorageError


def is_of(path: Path, scan: Scan, operator: str) -> bool:
    """Whether `operator` wrote this file, and of this scan; raises FormatError when nobody can read that."""
    with open_hdf5(path) as file, reading(path, "whose it is"):
        return (_text(file[f"{at.OWN}/scan"]), _text(file[f"{at.PROCESS}/operator"])) == (scan_text(scan), operator)


def go_on(path: Path, scan: Scan) -> CxiWriter:
    """A writer that goes on in a file of this scan; what comes again and is in it is not written twice.

    Raises FormatError when the file is damaged, StorageError when it cannot be written or another writes it.
    """
    recover(path)
    with writing(path, "more of the scan"):
        file = open_to_go_on(path)
    try:
        with writing(path, "more of the scan"), reading(path, "what was written before"):
            file[f"{at.OWN}/writer"][()] = writer_text().encode()
            file.flush()
            return CxiWriter(path, scan, file=file)
    except (FormatError, StorageError):
        file.close()
        raise


def _text(dataset: Any) -> str:
    value = dataset[()]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
