"""Crowd: what all open pages share: news are written once for all, and the more look, the longer each waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from camlink.clock import now_s
from camlink.display.live import Live

PERIOD_S: Final = 0.05
TURNS_PER_S: Final = 90.0
"""So often all pages together are looked after; what a turn costs does not depend on the stream."""


class Crowd:
    """Counts the open pages and keeps the newest text of each kind of news."""

    def __init__(self, live: Live) -> None:
        self._values: dict[str, Callable[[], Any]] = {
            "status": live.status, "curves": live.curves, "points": live.points, "pictures": live.labels}
        self._written: dict[str, tuple[int, str]] = {}
        self.viewers = 0

    @property
    def period_s(self) -> float:
        """How long a page waits from one look to the next [s]."""
        return max(PERIOD_S, self.viewers / TURNS_PER_S)

    def text(self, name: str, version: int) -> str:
        """The news called `name` as a message, written once for each version; it ends with the time of its sending."""
        known, body = self._written.get(name, (-1, ""))
        if known != version:
            body = msgspec.json.encode({"type": name, name: self._values[name]()}).decode()[:-1]
            self._written[name] = version, body
        return f'{body},"now_ms":{now_s() * 1e3:.3f}}}'
