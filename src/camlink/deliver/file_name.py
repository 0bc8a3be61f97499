"""Names of the files that are kept: made from the scan, safe on every file system, never over an old file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from camlink.errors import ParameterError, StorageError

_LONGEST: Final = 120
_LONGEST_NAME_BYTES: Final = 240  # and a number, where it is taken
_MOST_TRIES: Final = 10_000


def safe(text: str) -> str:
    """A scan id as part of a file name: letters, digits, dot, dash and underscore; never hidden, never empty."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:_LONGEST]
    return kept or "scan"


def file_in(folder: Path, pattern: str, scan_id: str) -> Path:
    """The path that `pattern` (with `{scan}` for the scan) means inside `folder`.

    Raises ParameterError when it is empty, absolute, or leads out of the folder.
    """
    relative = PurePosixPath(pattern.replace("{scan}", safe(scan_id)))
    too_long = any(len(part.encode(errors="replace")) > _LONGEST_NAME_BYTES for part in relative.parts)
    if (relative.is_absolute() or ".." in relative.parts or not relative.name or too_long
            or any(letter in pattern for letter in "\0\\")):
        raise ParameterError(f"file: '{pattern}' must name a file inside the folder of the run ({folder}), "
                             "such as '{scan}.cxi'")
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ParameterError(f"file: '{pattern}' leads out of the folder of the run ({folder}) through a link")
    return path


def numbered_names(path: Path) -> list[Path]:
    """The files path-2, path-3, ... that are there; others that only begin alike are not among them."""
    numbered = re.compile(re.escape(path.stem) + r"-\d+" + re.escape(path.suffix))
    return [other for other in path.parent.iterdir() if numbered.fullmatch(other.name)]


def free_names(path: Path) -> Iterator[Path]:
    """`path` and then path-2, path-3, ...: those that no file has yet.

    Raises StorageError when thousands are taken.
    """
    for number in range(1, _MOST_TRIES):
        candidate = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not candidate.exists():
            yield candidate
    raise StorageError(f"{path}: {_MOST_TRIES - 1} files of this name exist already; clear the folder or choose "
                       "another name")
