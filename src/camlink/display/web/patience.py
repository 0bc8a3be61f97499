"""Patient: an HTTP connection that ends when it asks nothing for a while, and makes room when there are too many."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

ASK_S: Final = 10.0
ROOM: Final = 400  # connections; well below the limit at which the server turns everybody away


class Patient(H11Protocol):
    """Half a request keeps a connection no longer than `ASK_S`; of too many the oldest without a request goes first."""

    ask_s = ASK_S
    _asked: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the new connection and start to wait for its request."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self.loop.call_later(self.ask_s, self._look)
        others = [cast("Patient", other) for other in self.connections if other is not self]
        if len(others) >= ROOM and (silent := [other for other in others if other.cycle is None]):
            oldest = min(silent, key=lambda other: other.began)
            self.connections.discard(oldest)  # now: many may come before the loop sees that it is closed
            oldest.transport.abort()

    def _look(self) -> None:
        """Close when nothing was asked since the last look; a request that is being answered has all time."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # gone, or a web socket by now
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and self.cycle is self._asked:
            self.transport.close()
            return
        self._asked = self.cycle
        self.loop.call_later(self.ask_s, self._look)
