"""Join: how an operator with several inputs takes them: the frames that share a key meet, within a bounded skew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEYS: Final = ("frame", "point")
MOST_SKEW: Final = 1 << 16
MOST_WAIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Join:
    """`by` is the key: `frame` (scan and frame index) or `point` (scan and point, with all exposures of it).

    A branch that is `skew` keys ahead of another is not taken from until that one has come closer; a key is given up
    for a branch that is more than `skew` keys past it, has ended, or held up the others in silence for `wait_s`.
    """

    by: str
    skew: int = 64
    wait_s: float = 30.0

    def faults(self) -> dict[str, str]:
        """What is wrong with the declaration, by its key."""
        found = {}
        if self.by not in KEYS:
            found["by"] = f"unknown key '{self.by}' (known: {', '.join(KEYS)})"
        if not 1 <= self.skew <= MOST_SKEW:
            found["skew"] = f"{self.skew} is out of 1 to {MOST_SKEW}"
        if not 0 < self.wait_s <= MOST_WAIT_S:
            found["wait_s"] = f"{self.wait_s} s is out of 0 to {MOST_WAIT_S:g}"
        return found

    def __str__(self) -> str:
        """As drawings say it."""
        return f"joined by {self.by}, skew {self.skew}"
