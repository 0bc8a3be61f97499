from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from camlink.runtime.rundir import make_socket_folder


def test_the_folder_is_private_and_names_its_process(tmp_path: Path) -> None:
    made = make_socket_folder(tmp_path)
    assert made.stat().st_mode & 0o777 == 0o700
    assert made.name.startswith(f"camlink-{os.getpid()}-")


def test_folders_of_dead_processes_are_swept_and_no_others(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    stale = tmp_path / f"camlink-{dead.stdout.strip()}-abc"
    stale.mkdir()
    (stale / "socket").touch()
    kept = [make_socket_folder(tmp_path), tmp_path / "camlink-notes", tmp_path / "other"]
    for folder in kept[1:]:
        folder.mkdir()
    make_socket_folder(tmp_path)
    assert not stale.exists()
    assert all(folder.exists() for folder in kept)
