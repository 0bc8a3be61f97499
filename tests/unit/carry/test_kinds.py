from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import zmq

from camlink.carry.kinds import make_outlet
from camlink.errors import InputError, StorageError


def test_a_link_that_cannot_spill_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "l.spill").write_bytes(b"something else altogether")
    gc.collect()  # what other tests left
    before = len(os.listdir("/proc/self/fd"))
    with zmq.Context() as context:
        with pytest.raises(StorageError, match="is no spill file"):
            make_outlet(context, "shm", "l", str(tmp_path / "a"), policy="spill", spill=tmp_path / "l.spill")
        with pytest.raises(InputError, match="needs a file"):
            make_outlet(context, "shm", "l", str(tmp_path / "b"), policy="spill")
    assert len(os.listdir("/proc/self/fd")) <= before
    assert [path.name for path in tmp_path.iterdir()] == ["l.spill"]
