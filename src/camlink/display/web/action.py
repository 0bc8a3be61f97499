"""Actions: what may be done through the page, by whom; each is noted before it is done, and how it came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from camlink.display.web.access import Pass, Role
from camlink.display.web.audit import Audit
from camlink.display.web.door import HOLDER, peer_of
from camlink.errors import CamlinkError, ParameterError, UnknownName

PATH: Final = "/api/act/"


@dataclass(frozen=True)
class Action:
    """Something that people of `role` may do; `do` gets who asks and the typed `arguments`, and its value goes back."""

    role: Role
    do: Callable[[str, Any], Any]
    arguments: type[Any] = dict
    help: str = ""
    choices: Any = None


class Me(msgspec.Struct, frozen=True):
    """Who asks, the role, the actions that the role may do, and what there is to choose for some of them."""

    who: str
    role: str
    actions: list[str]
    choices: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    """What became of an action."""

    done: str
    answer: Any = None


class Fault(msgspec.Struct, frozen=True):
    """Why something was not done."""

    error: str


class Actions:
    """Answers `POST /api/act/NAME` with a JSON object of arguments."""

    def __init__(self, known: Mapping[str, Action], audit: Audit) -> None:
        self._known, self._audit = known, audit

    def routes(self) -> list[Route]:
        """Who am I, and every action."""
        return [Route("/api/me", self.me), Route(PATH + "{name}", self.act, methods=["POST"])]

    async def me(self, request: Request) -> Response:
        """Who asks, the role, and what the role may do, as JSON."""
        held: Pass = request.scope[HOLDER]
        may = sorted(name for name, action in self._known.items() if held.role >= action.role)
        choices = {name: self._known[name].choices for name in may if self._known[name].choices is not None}
        return json_answer(Me(held.who, held.role.name.lower(), may, choices))

    async def act(self, request: Request) -> Response:
        """Do one action; 403 when the role is not enough."""
        name: str = request.path_params["name"]
        held: Pass = request.scope[HOLDER]
        action = self._known.get(name)
        if action is None:
            raise UnknownName("action", name[:80], self._known)
        if held.role < action.role:
            needed = action.role.name.lower()
            self._audit.turned_away(peer_of(request.scope), f"{held.who}: {name}", f"needs the role {needed}")
            return json_answer(Fault(f"'{name}' needs the role {needed}; you are {held.role.name.lower()}"), 403)
        body = await request.body()
        peer, said = peer_of(request.scope), f"{name} {body.decode('utf8', 'replace')[:500]}".strip()
        self._audit.asked(peer, held.who, said)
        try:
            arguments = _read(name, body, action.arguments)
            answer = await run_in_threadpool(action.do, held.who, arguments)
        except CamlinkError as error:
            self._audit.ended(peer, held.who, said, f"refused: {error}")
            raise
        self._audit.ended(peer, held.who, said, "done")
        return json_answer(Answer(name, answer))


def _read(name: str, body: bytes, record: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=record)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ParameterError(f"{name}: {error}") from None


def json_answer(value: object, status: int = 200) -> Response:
    """A value as JSON that nobody keeps."""
    return Response(msgspec.json.encode(value), status, media_type="application/json",
                    headers={"Cache-Control": "no-store"})
