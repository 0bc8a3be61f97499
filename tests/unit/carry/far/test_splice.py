from __future__ import annotations

import os
import resource
import socket

import pytest

from camlink.carry.far.splice import Splice


def test_a_splice_for_which_there_are_too_few_files_leaves_none_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    a, b = socket.socketpair()
    free = [os.dup(a.fileno()) for _ in range(3)]  # enough for one pipe, not for two
    for fd in free:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Splice(a, b)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == before
