"""open_recorded: a recorded scan of any known format, told by what the file holds rather than by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from camlink.carry.formats.hdf5 import check_readable, open_hdf5, reading
from camlink.carry.formats.recorded import Recorded
from camlink.carry.formats.superblock import SIGNATURE
from camlink.errors import FormatError

KNOWN: Final = "CXI (.cxi), ptyd (.ptyd), NumPy archives with data, scan and probe (.npz, .npz.bz2)"
_HDF5_NAMES: Final = (".cxi", ".h5", ".hdf5", ".ptyd", ".nxs")


def open_recorded(path: Path | str) -> Recorded:
    """Open a recorded scan.

    Raises FormatError when the file is missing, damaged or of no known format, with the known ones listed.
    """
    path = Path(path)
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(8)
    if head == SIGNATURE or path.suffix.lower() in _HDF5_NAMES:
        return _open_hdf5(path)
    if head.startswith((b"BZh", b"PK\x03\x04")):
        from camlink.carry.formats.star import read_star

        return read_star(path)
    raise FormatError(f"{path}: of no known format; known are {KNOWN}")


def _open_hdf5(path: Path) -> Recorded:
    from camlink.carry.formats.cxi_read import read_cxi
    from camlink.carry.formats.ptyd import read_ptyd

    with open_hdf5(path) as file, reading(path, "its root"):
        chunked, entry = "chunks" in file, any(name.startswith("entry_") for name in file)
        names = ", ".join(list(file)[:8]) or "nothing"
    if chunked:
        return read_ptyd(path)
    if entry:
        return read_cxi(path)
    raise FormatError(f"{path}: HDF5 of no known layout (its root holds: {names}); known are {KNOWN}")
