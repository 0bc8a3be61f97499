"""Finding: one row of the doctor."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warn", "refuse"]


class Finding(NamedTuple):
    """What was looked at, how it is, what was found, and what to do about it."""

    what: str
    state: State
    found: str
    remedy: str = ""


def graded(what: str, value: float, found: str, *, least: float, good: float, remedy: str) -> Finding:
    """Refuse below `least`, warn below `good`; the remedy is told when it is not good."""
    state: State = "refuse" if value < least else "warn" if value < good else "ok"
    return Finding(what, state, found, "" if state == "ok" else remedy)
