"""What every run in a test has to leave behind: nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from camlink.settings import read_settings


@pytest.fixture
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run directory of the test's own; afterwards no process, socket or shared memory of the test is there."""
    own = tempfile.mkdtemp(prefix="ct-")  # short: the path of a socket has 107 bytes
    monkeypatch.setenv("XDG_RUNTIME_DIR", own)
    shared = set(Path("/dev/shm").iterdir())
    before = set(psutil.Process().children(recursive=True))  # servers of other tests of this session
    yield
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=5)
    assert [process.cmdline() for process in alive] == []
    assert set(read_settings().sockets.glob("camlink-*")) == set()
    assert {path for path in Path("/dev/shm").iterdir() if "camlink" in path.name} <= shared
    Path(own).rmdir()
