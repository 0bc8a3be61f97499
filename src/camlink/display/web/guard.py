"""Guard: only requests for our host, from our page, of bounded size and by somebody known reach the app."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camlink.display.web.door import HOLDER, LOGIN, Door, peer_of, wanted

POLICY: Final = ("default-src 'none'; script-src 'self'; style-src 'self'; "
                 "img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
                 "form-action 'self'; frame-ancestors 'none'")
SECURITY_HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
ANY_HOST: Final = "*"
FORBIDDEN: Final = 4403
LARGEST_BODY_BYTES: Final = 65_536
BODY_S: Final = 10.0
READING: Final = ("GET", "HEAD", "OPTIONS")


class Refusal(NamedTuple):
    """Why a request goes no further."""

    status: int
    text: str


def host_name(authority: str) -> str:
    """The host of "host:port" or "[::1]:port", in small letters; empty when it does not parse."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


class Guard:
    """ASGI shell around the app: it tells who asks, by the `door`, and turns away whom that does not know."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], door: Door) -> None:
        self._app, self._door = app, door
        self._hosts = frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or turn it away."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                self._note(scope, refusal)
                await send({"type": "websocket.close", "code": FORBIDDEN, "reason": refusal.text[:100]})
            return
        sending = _with_headers(send)
        if refusal is None and scope["method"] not in READING:
            body = await _read_body(receive)
            refusal = body if isinstance(body, Refusal) else None
            if isinstance(body, bytes):
                receive = _once(body, receive)
        if refusal is None:
            await self._app(scope, receive, sending)
        else:
            self._note(scope, refusal)
            await _answer(refusal, scope)(scope, receive, sending)

    def _refuse(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if ANY_HOST not in self._hosts and host_name(host) not in self._hosts:
            return Refusal(421, f"host '{host[:80]}' is not served here")
        if scope["type"] == "websocket":
            if not _same_origin(headers.get("origin", ""), host):
                return Refusal(403, "foreign origin")
        elif foreign := _foreign(scope, headers, host):
            return foreign
        length = headers.get("content-length", "0")[:20]
        if not length.isdecimal() or int(length) > LARGEST_BODY_BYTES:
            return Refusal(413, f"at most {LARGEST_BODY_BYTES} bytes are taken")
        scope[HOLDER] = self._door.holder(scope)
        if scope[HOLDER] is None and scope["path"] != LOGIN:
            return Refusal(401, f"login first, at {LOGIN}")
        return None

    def _note(self, scope: Scope, refusal: Refusal) -> None:
        action = f"{scope.get('method', 'socket')} {scope['path'][:120]}"
        self._door.audit.turned_away(peer_of(scope), action, refusal.text)


def _foreign(scope: Scope, headers: Headers, host: str) -> Refusal | None:
    """What other sites make a browser ask: they may link to the page, no more."""
    origin = headers.get("origin", "")
    if scope["method"] not in READING:
        by_program = not origin and headers.get("authorization", "").lower().startswith("bearer ")
        if not by_program and not _same_origin(origin, host):
            return Refusal(403, "foreign origin; programs send `Authorization: Bearer TOKEN`")
    elif (headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
          and headers.get("sec-fetch-mode") != "navigate"):
        return Refusal(403, "asked by the page of another site")
    return None


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


async def _read_body(receive: Receive) -> bytes | Refusal:
    """The whole body, bounded in size and time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Refusal(400, "the request ended before its body")
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY_BYTES:
                    return Refusal(413, f"at most {LARGEST_BODY_BYTES} bytes are taken")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return Refusal(408, f"the body did not arrive in {BODY_S:g} s")


def _once(body: bytes, receive: Receive) -> Receive:
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def _answer(refusal: Refusal, scope: Scope) -> Response:
    navigates = scope["path"] == "/" or Headers(scope=scope).get("sec-fetch-mode") == "navigate"
    if refusal.status == 401 and scope["method"] == "GET" and navigates:
        return RedirectResponse(f"{LOGIN}?to={quote(wanted(scope['path']))}" if scope["path"] != "/" else LOGIN, 303)
    # the rest of a body that was not read must not be taken for the next request
    return PlainTextResponse(refusal.text + "\n", refusal.status, headers={"Connection": "close"})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS:
                headers.setdefault(name, value)
        await send(message)

    return sending
