"""Signals by name, as people say them."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """SIGKILL for 9; `signal 35` for one of the real-time signals, which have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
