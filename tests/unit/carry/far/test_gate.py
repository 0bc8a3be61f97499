import os
from pathlib import Path

import pytest

from camlink.carry.far.gate import CallGate, _reach
from camlink.carry.far.ticket import RelayKey
from camlink.errors import InputError


def test_a_socket_at_which_nobody_listens_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        _reach(str(tmp_path / "none"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_path_that_is_too_long_is_told_and_leaves_nothing_open(tmp_path: Path) -> None:
    before, ticket = len(os.listdir("/proc/self/fd")), RelayKey(b"k" * 32).ticket("127.0.0.1:1", "r", "call", 60)
    with pytest.raises(InputError, match=r"cannot listen at .*too long.*XDG_RUNTIME_DIR"):
        CallGate(ticket, "lane", tmp_path / ("x" * 120))
    assert len(os.listdir("/proc/self/fd")) == before
