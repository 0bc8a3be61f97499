"""Clock: the time of a run [s, UNIX], the same in all its processes on a machine, whatever happens to the wall clock.

It is the monotonic time of the machine and an origin, which a process hands to those that it starts. When the wall
clock is set while a run goes on, no age, pace, silence or life of a key jumps; the next run begins at the new time.
"""

from __future__ import annotations

import time

_origin_s = time.time() - time.monotonic()


def now_s() -> float:
    """The time now [s, UNIX]."""
    return _origin_s + time.monotonic()


def origin_s() -> float:
    """The wall clock at the zero of the monotonic time, as this process has it [s, UNIX]."""
    return _origin_s


def keep_origin(told_s: float) -> None:
    """Take the origin of the process that started this one, on the same machine, for good."""
    global _origin_s
    _origin_s = told_s
