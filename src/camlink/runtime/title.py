"""Title: the command line by which others know this process (ps, top), written anew when it becomes something else."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

_ARG_START: Final = 45  # fields 48 and 49 of proc(5), counted after the name
_MOST_BYTES: Final = 1 << 16


def write_title(words: list[str]) -> bool:
    """Put other words in place of the command line, in the room that it has; False where the system does not let us."""
    try:
        stat = Path("/proc/self/stat").read_text()
        start, end = (int(found) for found in stat.rpartition(")")[2].split()[_ARG_START:_ARG_START + 2])
    except (OSError, ValueError):
        return False
    room = end - start
    title = b"".join(word.encode() + b"\0" for word in words)
    if not start or not len(title) <= room <= _MOST_BYTES:
        return False
    ctypes.memmove(start, title.ljust(room, b"\0"), room)
    return True
