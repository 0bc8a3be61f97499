"""The folder of a run's sockets: private to its user, removed at the end, and swept when its owner was killed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

import psutil

_NAME: Final = re.compile(r"camlink-(\d+)-\w+")


def make_socket_folder(parent: Path) -> Path:
    """A new folder of mode 0700 in `parent`, named after this process; those of dead processes are swept."""
    for left in parent.glob("camlink-*"):
        if _is_dead(left):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"camlink-{os.getpid()}-", dir=parent))


def _is_dead(folder: Path) -> bool:
    """Whether the folder is ours and the process that made it is gone."""
    named = _NAME.fullmatch(folder.name)
    try:
        return named is not None and folder.stat().st_uid == os.getuid() and not psutil.pid_exists(int(named[1]))
    except OSError:
        return False  # somebody else swept it meanwhile
