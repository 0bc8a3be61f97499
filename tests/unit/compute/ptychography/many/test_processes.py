"""Ranks as processes of this host: what is left when they cannot be started. Real ones: tests/system/test_ranks.py."""

import os
import sys

import pytest

from camlink.compute.ptychography.many.processes import Processes


def test_where_no_rank_can_be_started_no_file_stays_open(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        Processes(3)
    assert os.listdir("/proc/self/fd") == before
