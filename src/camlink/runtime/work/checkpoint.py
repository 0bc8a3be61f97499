"""Checkpoint: what an operator keeps beside its journal, so that its next attempt does not begin its work anew."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from camlink.block import Result
from camlink.carry.disk.journal import read_blocks, write_blocks
from camlink.errors import FormatError, StorageError
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.porter import JOURNALS

MOST_SHARE: Final = 0.02
"""Making and writing it takes at most this share of the time, however large it is."""
EVERY_S: Final = 0.25
SEEN: Final = 3
"""The quickest of so many tells what one costs: one that the machine held up must not put the next off for long."""
GUESS_S: Final = 0.04


class Checkpoint:
    """One block in a file with a checksum, which a newer one replaces as a whole; the last before a kill is found.

    `trouble` says why there is none, if so: that costs time at the next attempt, and nothing else.
    """

    def __init__(self, spec: WorkerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._operator, self._attempt, self._clock = spec.operator, spec.attempt, clock
        self._path = Path(spec.folder) / JOURNALS / f"{spec.operator}-{spec.replica}.kept"
        self._next_s = clock() + EVERY_S
        self._took_s = deque([GUESS_S], maxlen=SEEN)
        self.trouble = ""

    def keep(self, make: Callable[[], Result | None]) -> None:
        """Write what `make` gives, if it is time and there is something."""
        began_s = self._clock()
        if began_s < self._next_s or (block := make()) is None:
            return
        part = self._path.with_suffix(".part")
        try:
            part.unlink(missing_ok=True)  # of an attempt that was killed meanwhile
            write_blocks(part, Result(msgspec.structs.replace(block.header, source=self._operator), block.arrays))
            part.replace(self._path)
            self.trouble = ""
        except (OSError, StorageError) as error:
            self.trouble = f"not kept: {error}"
        now_s = self._clock()
        self._took_s.append(now_s - began_s)
        self._next_s = now_s + max(EVERY_S, min(self._took_s) / MOST_SHARE)

    def read(self) -> Result | None:
        """What earlier attempts of this worker kept last."""
        if not self._attempt or not self._path.exists():
            return None
        try:
            block = next(read_blocks(self._path), None)
        except (FormatError, OSError) as error:
            self.trouble = f"began anew: {error}"
            return None
        if not isinstance(block, Result) or block.header.source != self._operator:
            self.trouble = f"began anew: {self._path} holds no whole checkpoint of {self._operator}"
            return None
        return block

    def remove(self) -> None:
        """Nobody needs it any more."""
        for path in (self._path, self._path.with_suffix(".part")):
            path.unlink(missing_ok=True)
