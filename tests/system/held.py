"""Held: a process whose end its parent is not told for a while, as of one that waits for a dead disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

_TRACE: Final = """
import ctypes, sys, time
print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None), flush=True)  # PTRACE_SEIZE
time.sleep(600)
"""


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Trace a process and never look: when it is killed, only who traces it is told."""
    with subprocess.Popen([sys.executable, "-c", _TRACE, str(pid)], stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        try:
            if tracer.stdout.readline() != "0\n":
                pytest.skip("this machine lets nobody trace processes (kernel.yama.ptrace_scope)")
            yield
        finally:
            tracer.kill()
