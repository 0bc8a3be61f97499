from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from camlink.errors import StorageError
from camlink.runtime.rundir import make_private_folder, make_socket_folder


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


def test_all_agents_of_a_run_on_a_machine_share_a_folder_that_is_for_nobody_else(tmp_path: Path) -> None:
    made = make_private_folder(tmp_path, "camlink-7-abc")
    (made / "journal").mkdir()
    assert make_private_folder(tmp_path, "camlink-7-abc") == made
    make_socket_folder(tmp_path)
    assert (made / "journal").is_dir()  # not swept with the sockets of its agent
    made.chmod(0o755)
    with pytest.raises(StorageError, match="not a folder for you alone"):
        make_private_folder(tmp_path, "camlink-7-abc")
    (tmp_path / "camlink-run-other").symlink_to(tmp_path)
    with pytest.raises(StorageError):
        make_private_folder(tmp_path, "other")
