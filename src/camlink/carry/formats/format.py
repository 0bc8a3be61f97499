"""Format: how files of one layout are told from others and opened; installed ones have an entry point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from camlink.carry.formats.hdf5 import open_hdf5, reading
from camlink.carry.formats.recorded import Recorded
from camlink.carry.formats.superblock import SIGNATURE

GROUP: Final = "camlink.formats"
HEAD_BYTES: Final = 8
_HDF5_NAMES: Final = (".cxi", ".h5", ".hdf5", ".ptyd", ".nxs")


class Format(NamedTuple):
    """`knows(path, head)` tells by the content (`head` are its first 8 bytes) whether a file is of this format.

    `read` opens it, or raises FormatError. `title` is how people call it, with its usual suffixes.
    """

    title: str
    knows: Callable[[Path, bytes], bool]
    read: Callable[[Path], Recorded]


def hdf5_root(path: Path, head: bytes) -> list[str]:
    """Names in the root of a file that is HDF5, or is called so; raises FormatError when it cannot be opened."""
    if head != SIGNATURE and path.suffix.lower() not in _HDF5_NAMES:
        return []
    with open_hdf5(path) as file, reading(path, "its root"):
        return list(file)
