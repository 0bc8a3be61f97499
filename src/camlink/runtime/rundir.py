"""The folders of a run on a machine: its own, and that of its sockets, which is removed at the end or swept later."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from camlink.errors import InputError, StorageError
from camlink.runtime.log import EVENTS

NURSERY_LOG: Final = "nursery.log"
_NAME: Final = re.compile(r"camlink-(\d+)-\w+")


def make_run_folder(folder: Path) -> None:
    """Make the folder of a run with that of its logs; raises InputError where a run is already, or StorageError."""
    if (folder / EVENTS).exists():
        raise InputError(f"{folder} holds a run already; choose another folder, nothing is ever overwritten")
    try:
        str(folder).encode()
        (folder / "log").mkdir(parents=True, exist_ok=True)
    except UnicodeEncodeError:
        raise InputError(f"{str(folder)!a}: the name of the folder is no text in UTF-8; choose another with --folder"
                         ) from None
    except OSError as error:
        raise StorageError(f"cannot make the folder of the run {folder}: {error.strerror}; choose another with --folder"
                           ) from None


def remove_unused(folder: Path, *, new: bool) -> None:
    """Remove what was made for a run that never began; its folder too, when that is `new` and holds nothing else."""
    with suppress(OSError):  # somebody has put something there
        if not (folder / EVENTS).exists():
            (folder / "log" / NURSERY_LOG).unlink(missing_ok=True)
            (folder / "log").rmdir()
            if new:
                folder.rmdir()


def make_socket_folder(parent: Path) -> Path:
    """A new folder of mode 0700 in `parent`, named after this process; those of dead processes are swept."""
    for left in parent.glob("camlink-*"):
        sweep(left)
    return Path(tempfile.mkdtemp(prefix=f"camlink-{os.getpid()}-", dir=parent))


def make_private_folder(parent: Path, run: str) -> Path:
    """What stands for the folder of a run on a machine that does not see it; the same for all its agents there.

    A successor finds the journals in it. Raises StorageError when somebody else could have put something there.
    """
    path = parent / f"camlink-run-{run}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}; set CAMLINK_SCRATCH to a folder of yours") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StorageError(f"{path} is not a folder for you alone; remove it, or set CAMLINK_SCRATCH")
    return path


def owner_of(folder: Path) -> int | None:
    """The process that made a folder of sockets; None where its name is no such folder's."""
    named = _NAME.fullmatch(folder.name)
    return int(named[1]) if named is not None else None


def sweep(folder: Path) -> None:
    """Remove a folder of sockets that is ours and whose process is gone; leave any other."""
    owner = owner_of(folder)
    with suppress(OSError):  # somebody else swept it meanwhile
        if owner is not None and folder.stat().st_uid == os.getuid() and not psutil.pid_exists(owner):
            shutil.rmtree(folder, ignore_errors=True)
