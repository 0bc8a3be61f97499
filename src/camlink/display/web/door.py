"""Door: who makes a request, and the addresses by which people come in and go."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, quote, unquote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from camlink.display.web.access import LONGEST_NAME, PASS_S, Access, Pass, Role
from camlink.display.web.audit import Audit
from camlink.errors import InputError

LOGIN: Final = "/login"
FOR: Final = "Camlink-For"  # for whom a program of the run's user asks: ROLE NAME, the name percent-encoded
HOLDER: Final = "camlink.pass"  # where the guard leaves the pass in the scope of a request
WRONG_TOKEN_S: Final = 0.3
MOST_FIELDS: Final = 8
FORM: Final = """<!doctype html><html lang=en><meta charset=utf-8><title>camlink: login</title>
<meta name=viewport content="width=device-width, initial-scale=1"><meta name=color-scheme content="light dark">
<h1>camlink</h1><p>{text}</p>
<form method=post action=/login><input type=hidden name=to value="{to}">
<p><label>Token <input name=token type=password autofocus required></label></p>
<p><label>Your name <input name=who maxlength=40></label></p><p><button>Come in</button></p></form>
"""
_RUN: Final = re.compile(r"/runs/[A-Za-z0-9_][A-Za-z0-9_.-]*/")
WELCOME: Final = "The command that runs this workflow has printed an address with a token: open it, or give it here."


class Door:
    """Knows tokens, cookies and neighbours; `trusts` says who may look without a token."""

    def __init__(self, access: Access, audit: Audit, trusts: Callable[[Scope], bool]) -> None:
        self.access, self.audit, self._trusts = access, audit, trusts

    def holder(self, scope: Scope) -> Pass | None:
        """Who makes this request: by cookie, by `Authorization: Bearer TOKEN`, or a neighbour who may look."""
        cookie = HTTPConnection(scope).cookies.get(cookie_name(scope), "")
        if held := self.access.by_cookie(cookie):
            return held
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (held := self.access.by_token(token.strip())):
            return _in_the_name_of(Headers(scope=scope).get(FOR, ""), held) if held.speaks else held
        return Pass("neighbour", Role.VIEWER, float("inf")) if self._trusts(scope) else None

    def routes(self) -> list[Route]:
        """Come in and leave."""
        return [Route(LOGIN, self.ask), Route(LOGIN, self.come_in, methods=["POST"]),
                Route("/logout", self.leave, methods=["POST"])]

    async def ask(self, request: Request) -> Response:
        """The form that asks for a token; with ?token= the way in."""
        given = request.query_params
        to = wanted(given.get("to", ""))
        if "token" in given:
            return await self._enter(request, given["token"], given.get("who", ""), to)
        return HTMLResponse(FORM.format(text=html.escape(WELCOME), to=to))

    async def come_in(self, request: Request) -> Response:
        """Take the token of the form."""
        try:
            fields = parse_qs((await request.body()).decode("utf8", "replace"), max_num_fields=MOST_FIELDS)
        except ValueError as error:
            raise InputError(f"{LOGIN}: {error}; at most {MOST_FIELDS} are taken") from None
        token, who, to = (fields.get(name, [""])[0] for name in ("token", "who", "to"))
        return await self._enter(request, token, who, wanted(to))

    async def leave(self, request: Request) -> Response:
        """End the pass of this browser."""
        name = cookie_name(request.scope)
        self.access.leave(request.cookies.get(name, ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(name)
        return answer

    async def _enter(self, request: Request, token: str, who: str, to: str) -> Response:
        cookie = self.access.enter(token, who)
        held = self.access.by_cookie(cookie)
        if held is None:
            self.audit.turned_away(peer_of(request.scope), "login", "wrong token")
            await asyncio.sleep(WRONG_TOKEN_S)  # guessing is hopeless; this keeps it cheap for us too
            return HTMLResponse(FORM.format(text="This token is not known here, or its time is over.", to=to), 401)
        self.audit.ended(peer_of(request.scope), held.who, f"login as {held.role.name.lower()}")
        answer = RedirectResponse(to, 303)
        answer.set_cookie(cookie_name(request.scope), cookie, max_age=int(PASS_S), httponly=True, samesite="lax",
                          secure=request.url.scheme == "https")
        return answer


def said_for(held: Pass) -> tuple[str, str]:
    """The header by which a program asks in the name of somebody whom it knows."""
    return FOR, f"{held.role.name} {quote(held.who)}"


def _in_the_name_of(said: str, held: Pass) -> Pass:
    """Who is meant: never with more rights than the holder of the letter, and a viewer when it does not parse."""
    if not said:
        return held
    role, _, who = said.partition(" ")
    wanted = Role.__members__.get(role, Role.VIEWER)
    return Pass(unquote(who)[:LONGEST_NAME], min(held.role, wanted), held.until_s)


def wanted(path: str) -> str:
    """The page to go to after the login: that of a run, or the first; never anything else that somebody wrote there."""
    return path if _RUN.fullmatch(path) else "/"


def cookie_name(scope: Scope) -> str:
    """The cookie of this page: a browser keeps one jar for all ports of a machine."""
    server = scope.get("server") or ("", 0)
    return f"camlink-{server[1]}"


def peer_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""
