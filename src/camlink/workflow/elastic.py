"""Elastic: how many replicas an operator may have, and from which load on one joins or leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_REPLICAS: Final = 64


@dataclass(frozen=True, slots=True)
class Elastic:
    """`min` to `max` replicas, as the load asks for.

    One joins when the oldest block at the input has waited for more than `age_s` for `after_s`; one leaves when that
    was not so for `idle_s` and the others have room for its share.
    """

    min: int = 1
    max: int = 4
    age_s: float = 1.0
    after_s: float = 3.0
    idle_s: float = 10.0

    def faults(self) -> dict[str, str]:
        """What is wrong with the declaration, by its key."""
        found = {}
        if not 1 <= self.min <= MOST_REPLICAS:
            found["min"] = f"{self.min} is out of 1 to {MOST_REPLICAS}"
        elif not self.min <= self.max <= MOST_REPLICAS:
            found["max"] = f"{self.max} is out of {self.min} to {MOST_REPLICAS}"
        for key in ("age_s", "after_s", "idle_s"):
            if not 0 < getattr(self, key) <= 3600:
                found[key] = f"{getattr(self, key)} s is out of 0 to 3600"
        return found
