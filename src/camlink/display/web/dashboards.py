"""Dashboards: Dask's own pages of the clusters of a run, behind the login of its page, for who may act."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from camlink.display.web.access import Pass, Role
from camlink.display.web.audit import Audit
from camlink.display.web.door import HOLDER, peer_of
from camlink.display.web.guard import READING
from camlink.display.web.proxy import Proxy, Target
from camlink.runtime.cluster.certificates import Handshakes
from camlink.runtime.messages import Dashboard

POLICY: Final = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' "
                 "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
                 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
"""These pages bring their scripts in their text, so they are for those who may do what any script here could."""
_WAY: Final = re.compile(r"(/runs/[^/]+/dask/([^/]+))(/.*)")


class Shown(msgspec.Struct, frozen=True):
    """A dashboard that may be looked at: the site of its cluster, and its path."""

    site: str
    path: str


class Dashboards:
    """Leads to the dashboard of each site in `known`, which may be filled while it serves."""

    def __init__(self, known: Mapping[str, Dashboard], audit: Audit) -> None:
        self._known, self._audit = known, audit

    def routes(self) -> list[BaseRoute]:
        """What there is, and the way to it: the same path whether the page is asked itself or by a desk."""
        return [Route("/api/dashboards", self.shown), Mount("/runs", self.lead)]

    async def shown(self, request: Request) -> Response:
        """The dashboards that who asks may look at, as JSON."""
        shown = [Shown(site, f"{known.prefix}/status") for site, known in self._known.items()]
        return Response(msgspec.json.encode(shown if _may(request.scope) else []), media_type="application/json")

    async def lead(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead on to the dashboard of a site; nothing can be asked of it but to be shown."""
        way = scope["raw_path"].decode("latin-1")
        found = _WAY.fullmatch(way)
        known = self._known.get(found[2]) if found else None
        if known is None or found is None or found[1] != known.prefix:
            await _end(scope, receive, send, 404, "there is no dashboard here")
        elif not _may(scope) or scope.get("method", "GET") not in READING:
            self._audit.turned_away(peer_of(scope), f"dashboard of {found[2]}", "needs the role operator")
            await _end(scope, receive, send, 403, "a dashboard needs the role operator")
        else:
            target = Target(known.socket, secure=Handshakes.beside(Path(known.socket)))
            await Proxy(target, way, "")(scope, receive, _with_policy(send))


def _may(scope: Scope) -> bool:
    held: Pass = scope[HOLDER]
    return held.role >= Role.OPERATOR


async def _end(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + status, "reason": text})
    else:
        await PlainTextResponse(text + "\n", status)(scope, receive, send)


def _with_policy(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name != b"content-security-policy"]
            message["headers"] = [*kept, (b"content-security-policy", POLICY.encode())]
        await send(message)

    return sending
