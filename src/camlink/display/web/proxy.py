"""Proxy: leads requests and web sockets on to another server of this user: the page of a run, or a dashboard.

Only what is listed here goes on: no cookie, no token and no origin of the browser, and no cookie comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final

import h11
import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from camlink.display.web.action import Fault
from camlink.display.web.peer import is_same_user
from camlink.errors import PeerLost

DIAL_S: Final = 5.0
SILENCE_S: Final = 20.0
CHUNK_BYTES: Final = 65_536
LARGEST_MESSAGE_BYTES: Final = 64 << 20
GOING: Final = ("accept", "accept-encoding", "content-type", "if-modified-since", "if-none-match")
COMING: Final = (b"cache-control", b"content-encoding", b"content-length", b"content-security-policy", b"content-type",
                 b"etag", b"last-modified", b"vary")
GOING_AWAY: Final = 1001
NO_CODE: Final = 1005


@dataclass(frozen=True)
class Target:
    """A server on a unix socket (`socket`), or at a port of loopback; `said` are headers that it gets besides.

    With `secure` the socket is asked by TLS: there may be more than this machine behind it.
    """

    socket: str = ""
    port: int = 0
    said: tuple[tuple[str, str], ...] = ()
    secure: SSLContext | None = None

    @property
    def host(self) -> str:
        """The host as it stands in requests."""
        return f"127.0.0.1:{self.port}" if self.port else "localhost"


class Proxy:
    """An ASGI app that asks `target` for its path `way`; what that calls "/" is below `base` here."""

    def __init__(self, target: Target, way: str, base: str) -> None:
        self._target, self._way, self._base = target, way, base.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead on; 502 when nobody of this user answers there."""
        query = scope.get("query_string", b"").decode("latin-1")
        way = self._way + (f"?{query}" if query else "")
        if scope["type"] == "websocket":
            await self._connect(WebSocket(scope, receive, send), way)
            return
        with ExitStack() as stack:
            try:
                reader, writer = await self._dial()
                stack.callback(writer.close)
                line = await self._ask(scope, receive, writer, way)
                answer = await _next(line, reader)
                self._check_user(writer)
            except (OSError, TimeoutError, PeerLost, h11.RemoteProtocolError) as error:
                fault = Fault(f"who should answer this is away ({error or type(error).__name__}); has it ended?")
                await Response(msgspec.json.encode(fault), 502, media_type="application/json")(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": answer.status_code,
                        "headers": list(self._coming(answer.headers))})
            try:
                while isinstance(part := await _next(line, reader), h11.Data):
                    await send({"type": "http.response.body", "body": bytes(part.data), "more_body": True})
            except (OSError, TimeoutError, h11.RemoteProtocolError):
                return  # the server closes the line of an answer without an end: nobody takes a part for the whole
            await send({"type": "http.response.body", "body": b""})

    async def _ask(self, scope: Scope, receive: Receive, writer: asyncio.StreamWriter, way: str) -> h11.Connection:
        body = (await receive()).get("body", b"") if scope["method"] not in ("GET", "HEAD") else b""
        given = Headers(scope=scope)
        headers = [("Host", self._target.host), ("Connection", "close"), ("Content-Length", str(len(body))),
                   *self._target.said, *((name, given[name]) for name in GOING if name in given)]
        line = h11.Connection(h11.CLIENT)
        for event in (h11.Request(method=scope["method"], target=way, headers=headers), h11.Data(body),
                      h11.EndOfMessage()):
            writer.write(line.send(event) or b"")
        return line

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(DIAL_S):
            if self._target.socket:
                return await asyncio.open_unix_connection(self._target.socket, ssl=self._target.secure,
                                                          server_hostname="" if self._target.secure else None)
            return await asyncio.open_connection("127.0.0.1", self._target.port)

    def _coming(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
        for name, value in headers:
            if name == b"location":
                inside = value.startswith(b"/") and not value.startswith(self._base.encode() + b"/")
                yield name, self._base.encode() + value if inside else value
            elif name in COMING:
                yield name, value

    def _check_user(self, transport: Any) -> None:
        """The port of a run that was killed may belong to somebody else by now, whose answer is not for this page."""
        there, here = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        if not self._target.socket and not is_same_user(there, here):
            raise PeerLost("a process of another user listens there now")

    async def _connect(self, socket: WebSocket, way: str) -> None:
        from websockets.asyncio.client import connect, unix_connect
        from websockets.exceptions import WebSocketException

        known: dict[str, Any] = {
            "origin": f"http://{self._target.host}", "additional_headers": self._target.said, "compression": None,
            "subprotocols": socket.scope["subprotocols"] or None, "max_size": LARGEST_MESSAGE_BYTES,
            "open_timeout": DIAL_S, "close_timeout": DIAL_S, "user_agent_header": None}
        where = f"://{self._target.host}{way}"
        if self._target.secure is not None:
            known["ssl"] = self._target.secure
            where = "s" + where
        try:
            async with (unix_connect(self._target.socket, f"ws{where}", **known) if self._target.socket else
                        connect(f"ws{where}", proxy=None, **known)) as upstream:
                self._check_user(upstream.transport)
                await socket.accept(upstream.subprotocol)
                await _join(socket, upstream)
        except (OSError, TimeoutError, PeerLost, WebSocketException, WebSocketDisconnect):
            with suppress(RuntimeError):  # it may be closed already
                await socket.close(GOING_AWAY)


async def _next(line: h11.Connection, reader: asyncio.StreamReader) -> Any:
    while (event := line.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
        async with asyncio.timeout(SILENCE_S):
            line.receive_data(await reader.read(CHUNK_BYTES))
    return event


async def _join(socket: WebSocket, upstream: Any) -> None:
    """Carry messages both ways until one side closes."""
    halves = {asyncio.create_task(_up(socket, upstream)), asyncio.create_task(_down(socket, upstream))}
    try:
        done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for half in halves:
            half.cancel()
        await asyncio.wait(halves)
    for half in done:
        half.result()


async def _up(socket: WebSocket, upstream: Any) -> None:
    while (event := await socket.receive())["type"] != "websocket.disconnect":
        text = event.get("text")
        await upstream.send(event["bytes"] if text is None else text)


async def _down(socket: WebSocket, upstream: Any) -> None:
    async for message in upstream:
        await (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)
    # 1000, 1001, or 1005 for "no code came", which must not be sent itself
    await socket.close(GOING_AWAY if upstream.close_code == NO_CODE else upstream.close_code)
