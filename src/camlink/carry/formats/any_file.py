"""open_recorded: a recorded scan of any known format, told by what the file holds rather than by its name."""

from __future__ import annotations

from pathlib import Path

from camlink.carry.formats.format import GROUP, HEAD_BYTES, Format
from camlink.carry.formats.hdf5 import check_readable
from camlink.carry.formats.recorded import Recorded
from camlink.errors import FormatError
from camlink.registry import Registry


def open_recorded(path: Path | str) -> Recorded:
    """Open a recorded scan; raises FormatError as `format_of` does, and when what it holds is damaged."""
    return format_of(path).read(Path(path))


def format_of(path: Path | str) -> Format:
    """The format of a file.

    Raises FormatError when the file is missing, damaged or of no known format, with the known ones listed.
    """
    path = Path(path)
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    registry: Registry[Format] = Registry(GROUP, "format")
    formats = [registry.get(name) for name in registry.names()]
    for known in formats:
        if known.knows(path, head):
            return known
    raise FormatError(f"{path}: of no known format; known are {', '.join(known.title for known in formats)}, and what "
                      "installed plug-ins add")
