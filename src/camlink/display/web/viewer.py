"""Viewer: one open page; it gets what is new as fast as it draws, and nothing waits for it.

Pictures in flight = sent - acknowledged, at most `WINDOW` a panel; the page acknowledges after drawing. While the
window is full versions pass by: only the newest is sent later, and what it never saw is counted as dropped.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from camlink.clock import now_s
from camlink.display.image import Lens, Picture, encode
from camlink.display.live import Live
from camlink.display.offer import Label
from camlink.display.web.crowd import Crowd
from camlink.display.web.message import Acknowledge, Subscribe, decode, text
from camlink.errors import UnknownName, WireError

WINDOW: Final = 2
STATUS_PERIOD_S: Final = 0.2
TICK_S: Final = 1.0
NEWS: Final = ("pictures", "status", "curves", "points")
MOST_FAULTS: Final = 50
POLICY_VIOLATION: Final = 1008


@dataclass(slots=True)
class Panel:
    """One subscribed picture of a page."""

    name: str
    lens: Lens
    seen: int = 0
    dropped: int = 0
    in_flight: set[int] = field(default_factory=set)
    described: tuple[Any, ...] = ()
    domain_id: int = 0


class Viewer:
    """Serves one socket until it closes."""

    def __init__(self, socket: WebSocket, live: Live, pool: Executor, crowd: Crowd) -> None:
        self._socket = socket
        self._crowd = crowd
        self._live = live
        self._pool = pool
        self._panels: dict[int, Panel] = {}
        self._sequence = 0
        self._faults = 0
        self._seen: dict[str, int] = {}
        self._sent_at: dict[str, float] = {}

    async def serve(self) -> None:
        """Accept the socket and serve it until the page goes away."""
        await self._socket.accept()
        self._crowd.viewers += 1
        halves = {asyncio.create_task(self._send()), asyncio.create_task(self._receive())}
        try:
            done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._crowd.viewers -= 1
            for half in halves:
                half.cancel()
            await asyncio.wait(halves)
        for half in done:
            if (error := half.exception()) is not None:
                raise error  # a fault of ours: the server logs it and closes the socket, and the page says so

    @property
    def _open(self) -> bool:
        connected = WebSocketState.CONNECTED
        return self._socket.application_state is connected and self._socket.client_state is connected

    async def _receive(self) -> None:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                return
            data = event.get("text")
            try:
                self._take(data if data is not None else event.get("bytes") or b"")
            except WireError as error:
                self._faults += 1
                if self._faults > MOST_FAULTS:
                    await self._socket.close(POLICY_VIOLATION, "too many messages that do not parse")
                    return
                await self._socket.send_text(text("error", text=str(error), count=self._faults))

    def _take(self, data: str | bytes) -> None:
        message = decode(data)
        if isinstance(message, Acknowledge):
            for panel in self._panels.values():
                panel.in_flight.discard(message.sequence)
        elif isinstance(message, Subscribe):
            old = self._panels.get(message.panel)
            same = old is not None and old.name == message.name
            self._panels[message.panel] = Panel(
                message.name, message.lens, dropped=old.dropped if old and same else 0,
                in_flight=old.in_flight if old else set(), domain_id=old.domain_id if old else 0)
        else:
            self._panels.pop(message.panel, None)

    async def _send(self) -> None:
        try:
            while self._open:
                began = time.monotonic()
                await self._send_news(began)
                for number, panel in list(self._panels.items()):
                    await self._send_picture(number, panel)
                await asyncio.sleep(max(0.005, self._crowd.period_s - (time.monotonic() - began)))
        except (WebSocketDisconnect, OSError):
            return  # the page went away while we sent
        except RuntimeError:
            if self._open:  # Starlette raises it for a send after the close; then there is nobody to tell
                raise

    async def _send_news(self, now: float) -> None:
        versions = self._live.versions()
        for name in NEWS:
            period_s = 0.0 if name == "pictures" else STATUS_PERIOD_S
            if versions[name] != self._seen.get(name, 0) and self._due(name, now, period_s):
                self._seen[name] = versions[name]
                await self._socket.send_text(self._crowd.text(name, versions[name]))
        if self._due("tick", now, TICK_S):
            await self._socket.send_text(text("tick", now_ms=now_s() * 1e3))

    def _due(self, name: str, now: float, period_s: float) -> bool:
        if now - self._sent_at.get(name, -period_s) < period_s:
            return False
        self._sent_at[name] = now
        return True

    async def _send_picture(self, number: int, panel: Panel) -> None:
        version = self._live.versions().get(panel.name, 0)
        if version in (0, panel.seen) or len(panel.in_flight) >= WINDOW:
            return
        loop = asyncio.get_running_loop()
        try:
            found = self._live.glance(panel.name, panel.lens)
            if found is None:
                found = await loop.run_in_executor(self._pool, self._live.image, panel.name, panel.lens)
        except UnknownName:
            return  # a new scan took the picture away since we looked
        if self._panels.get(number) is not panel:
            return  # the page has asked for something else meanwhile
        label, image = found
        if label.version == panel.seen:
            return  # a newer one is not made yet
        if panel.seen:
            panel.dropped += max(0, label.version - panel.seen - 1)
        panel.seen = label.version
        await self._describe(number, panel, label, image)
        self._sequence += 1
        panel.in_flight.add(self._sequence)
        await self._socket.send_bytes(encode(image, sequence=self._sequence, time_ms=label.made_s * 1e3,
                                             domain_id=panel.domain_id, panel=number))

    async def _describe(self, number: int, panel: Panel, label: Label, image: Picture) -> None:
        """Tell domain, region and label when they changed: they travel as text before the picture they belong to."""
        described = (image.low, image.high, image.region, image.step, image.part, image.scale, panel.dropped,
                     label.shape, label.pixel_um, label.origin_um)
        if described == panel.described:
            return
        panel.described = described
        panel.domain_id = (panel.domain_id + 1) & 0xFFFF
        await self._socket.send_text(text(
            "domain", panel=number, id=panel.domain_id, name=label.name, low=image.low, high=image.high,
            region=image.region, step=image.step, part=image.part, scale=image.scale, dropped=panel.dropped,
            shape=label.shape, unit=label.unit, pixel_um=label.pixel_um, origin_um=label.origin_um))
