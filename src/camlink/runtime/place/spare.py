"""Spare: one process of an agent that has imported what its workers import, and waits to become the next attempt."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Final

import psutil

AFTER_S: Final = 5.0  # nothing was started for so long: the start of the graph needs the machine for itself
LEAST_FREE_BYTES: Final = 1 << 30
ROOM: Final = "-" * 160
"""Room on its command line for the name that it is going to have."""


class Spare:
    """Keeps one process warm; `start` makes it from the modules that it imports."""

    def __init__(self, start: Callable[[tuple[str, ...]], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._modules: tuple[str, ...] = ()
        self._began_s = time.monotonic()

    def know(self, module: str) -> None:
        """A worker of this module was started now; a spare is going to import it."""
        self._modules = tuple(dict.fromkeys((*self._modules, module)))
        self._began_s = time.monotonic()

    def tend(self) -> None:
        """Start a spare when there is none, the last start is long enough ago, and memory is left for it."""
        if self._process is not None and self._process.poll() is not None:
            self._process, self._began_s = None, time.monotonic()
        if self._process is None and self._modules and time.monotonic() - self._began_s > AFTER_S:
            self._began_s = time.monotonic()
            if psutil.virtual_memory().available > LEAST_FREE_BYTES:
                self._process = self._start(self._modules)

    def take(self) -> subprocess.Popen[bytes] | None:
        """The process, for good, when there is one; it may still be importing."""
        process, self._process = self._process, None
        return process if process is not None and process.poll() is None else None

    def close(self) -> None:
        """End it."""
        if (process := self.take()) is not None:
            process.kill()
            process.communicate()
