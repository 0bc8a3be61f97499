"""Audit: who did what on the page, and who was turned away; one JSON line each in the log of the run."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from camlink.errors import StorageError

MOST_REFUSED: Final = 1000  # lines; afterwards one in REST_S, so that an attack cannot fill the disk
REST_S: Final = 10.0
MOST_WAITING: Final = 2000
LONGEST_OUTCOME: Final = 2000


class Line(msgspec.Struct, frozen=True):
    """One thing that was done, or tried: when [s, UNIX], from where, by whom, what, and how it came out."""

    at: float
    peer: str
    who: str
    action: str
    outcome: str


class Audit:
    """Keeps lines in memory until `keep` names their file; safe for several threads; `clock` only rises [s]."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._file = -1
        self.refused = 0
        self._noted_s = 0.0

    def keep(self, path: Path) -> None:
        """Append everything to the file `path` of mode 0600, from now on and what waits; raises StorageError."""
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError(f"cannot write the audit {path}: {error.strerror}") from None
        with self._lock:
            self._file, waiting = opened, self._waiting
            self._waiting = []
            for line in waiting:
                os.write(opened, line)

    def asked(self, peer: str, who: str, action: str) -> None:
        """Note what is about to be done; raises StorageError: what cannot be noted is not done."""
        self._write(Line(time.time(), peer, who, action, "asked"))

    def ended(self, peer: str, who: str, action: str, outcome: str = "done") -> None:
        """Note how it came out."""
        with contextlib.suppress(StorageError):  # it was done, or refused, whether the disk is full by now or not
            self._write(Line(time.time(), peer, who, action, outcome[:LONGEST_OUTCOME]))

    def turned_away(self, peer: str, action: str, reason: str) -> None:
        """Count and note a request that was refused."""
        self.refused += 1
        if self.refused <= MOST_REFUSED or self._clock() - self._noted_s > REST_S:
            self._noted_s = self._clock()
            with contextlib.suppress(StorageError):  # a full disk must not turn a refusal into anything else
                self._write(Line(time.time(), peer, "", action[:200], f"refused ({self.refused}): {reason}"))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _write(self, line: Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        with self._lock:
            if self._file < 0:
                if len(self._waiting) < MOST_WAITING:
                    self._waiting.append(data)
                return
            try:
                os.write(self._file, data)
            except OSError as error:
                raise StorageError(f"the audit cannot be written: {error.strerror}; nothing was done") from None
