"""Pace: how often pictures are made anew, so that all together take a bounded share of the machine."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

SHARE: Final = 0.025
"""Of the time of all processors; people who look must not hold up the stream."""
LEAST_S, MOST_S = 0.05, 1.0
KEPT: Final = 256
_ACTIVE_S: Final = 3.0


class Pace:
    """Remembers what each picture cost when it was made last; all that are looked at now share the time.

    Those who make pictures and those who ask are different threads.
    """

    def __init__(self, share: float = SHARE, processors: int = os.cpu_count() or 1) -> None:
        self._share = share * processors
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def note(self, key: Hashable, cost_s: float, at_s: float) -> None:
        """A picture was made: it took `cost_s` of a processor."""
        with self._lock:
            self._made[key] = at_s, cost_s
            self._made.move_to_end(key)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)

    def take_turn(self, key: Hashable, at_s: float) -> bool:
        """Whether it is time to make a picture anew; who is told so makes it, and the others wait for the next time."""
        with self._lock:
            begun_s, cost_s = self._made.get(key, (-MOST_S, 0.0))
            if at_s - begun_s < self._period_s(at_s):
                return False
            self._made[key] = at_s, cost_s
            return True

    def _period_s(self, at_s: float) -> float:
        """The time between two versions of a picture [s], for each that is looked at now."""
        cost_s = sum(cost_s for made_s, cost_s in self._made.values() if at_s - made_s < _ACTIVE_S)
        return min(max(LEAST_S, cost_s / self._share), MOST_S)
