"""Moment: a wait for a time of the steady clock that an end of the run cuts short."""

from __future__ import annotations

import time
from typing import Final

from camlink.workflow.operator import Context

LOOK_S: Final = 0.1


def wait_until(moment_s: float, context: Context) -> bool:
    """Wait for `moment_s` [s] of time.monotonic(); False when the operator is asked to stop before."""
    while not context.stopping():
        left_s = moment_s - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(left_s, LOOK_S))
    return False
