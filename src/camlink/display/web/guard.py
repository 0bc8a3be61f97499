"""Guard: answers carry security headers, requests name a host that is ours, sockets come from our own page."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = ("default-src 'none'; script-src 'self'; style-src 'self'; "
                 "img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
                 "form-action 'none'; frame-ancestors 'none'")
SECURITY_HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
ANY_HOST: Final = "*"
FORBIDDEN: Final = 4403


def host_name(authority: str) -> str:
    """The host of "host:port" or "[::1]:port", in small letters; empty when it does not parse."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


class Guard:
    """ASGI shell around the app: foreign hosts (DNS rebinding) and foreign origins are turned away."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or turn it away."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        known = ANY_HOST in self._hosts or host_name(host) in self._hosts
        if scope["type"] == "websocket":
            if known and _same_origin(headers.get("origin", ""), host):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": FORBIDDEN, "reason": "foreign origin"})
        elif known:
            await self._app(scope, receive, _with_headers(send))
        else:
            answer = PlainTextResponse(f"host '{host[:80]}' is not served here\n", status_code=421)
            await answer(scope, receive, _with_headers(send))


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS:
                headers[name] = value
        await send(message)

    return sending
