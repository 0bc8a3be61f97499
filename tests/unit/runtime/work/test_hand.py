"""Hand: a full disk is told, and ends nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# a disk of two pages, which a file fills: in a namespace of its own
SCRIPT = """
mount -t tmpfs -o size=8k none "$1" && head -c 8192 /dev/zero > "$1/full" && exec "$2" -c '
import sys
from pathlib import Path
from camlink.runtime.work.hand import map_file
map_file(Path(sys.argv[1]) / "hand", 256)[0] = 1
' "$1"
"""


@pytest.mark.slow
def test_a_full_disk_is_an_error_where_a_file_is_mapped(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of mounts may be made here")
    ended = subprocess.run(["unshare", "-rm", "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable],
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1  # and not SIGBUS
    assert "StorageError: cannot make" in ended.stderr
    assert "No space left on device" in ended.stderr
