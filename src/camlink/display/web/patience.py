"""Patient: an HTTP connection that ends when it asks nothing for a while, and makes room when there are too many."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from camlink.display.web.audit import Audit

ASK_S: Final = 10.0
ROOM: Final = 400  # connections; well below the limit at which the server turns everybody away


class Patient(H11Protocol):
    """Half a request keeps a connection no longer than `ASK_S`; of too many the oldest without a request goes first.

    Who said something that is no request, or had to make room, stands in the `audit` of the server.
    """

    ask_s = ASK_S
    audit: Audit
    _asked: Any = None
    _refused = False

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
            oldest.turn_away("too many connections, and it had asked nothing")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note who leaves half a request, by itself or because we have waited for so long."""
        if self._waits and self.conn.trailing_data[0]:  # a browser keeps connections for later, and says nothing there
            self.turn_away("the rest of its request did not come")
        super().connection_lost(exc)

    @property
    def _waits(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def turn_away(self, reason: str) -> None:
        """Note, once, that this connection is refused."""
        if not self._refused:
            self._refused = True
            host, port = self.client or ("", 0)
            self.audit.turned_away(f"{host}:{port}", "connection", reason)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request."""
        self.turn_away("what it said is no request")
        super().send_400_response(msg)

    def _look(self) -> None:
        """Close when nothing was asked since the last look; a request that is being answered has all time."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # gone, or a web socket by now
        if self._waits and self.cycle is self._asked:
            self.transport.close()
            return
        self._asked = self.cycle
        self.loop.call_later(self.ask_s, self._look)
