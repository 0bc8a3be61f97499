"""Pulse: for how long the code of an operator has worked without a word; a body that loops for ever has none."""

from __future__ import annotations

import time


class Pulse:
    """Every call from the operator into the runtime is a word; while the runtime works or waits, nothing is counted."""

    def __init__(self) -> None:
        self._since_s = 0.0

    def work(self) -> None:
        """The operator's code goes on from now."""
        self._since_s = time.monotonic()

    def rest(self) -> None:
        """The runtime works or waits."""
        self._since_s = 0.0

    def beat(self) -> None:
        """The operator's code said something and goes on."""
        if self._since_s:
            self._since_s = time.monotonic()

    @property
    def busy_s(self) -> float:
        """For how long it has worked without a word [s]."""
        since_s = self._since_s
        return time.monotonic() - since_s if since_s else 0.0
