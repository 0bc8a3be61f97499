import os
from pathlib import Path

import pytest

from camlink.carry.far.gate import _reach


def test_a_socket_at_which_nobody_listens_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        _reach(str(tmp_path / "none"))
    assert len(os.listdir("/proc/self/fd")) == before
