"""App of the desk: the menu, the runs, and the way into the page of each run, for who is let in here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from camlink.display.client import Letter
from camlink.display.desk.menu import Menu
from camlink.display.desk.records import PICTURE, REPORT, Entry, Form, Run
from camlink.display.desk.runs import Runs
from camlink.display.web.access import Pass
from camlink.display.web.action import Action, Fault
from camlink.display.web.app import STATIC, assemble, assets, built, json_answer
from camlink.display.web.door import HOLDER, LOGIN, Door, peer_of, said_for
from camlink.display.web.openapi import Described
from camlink.display.web.proxy import Proxy, Target

DESK: Final = Described(
    "The desk of camlink: workflows that may be started, and their runs. What the page of a run answers by itself is "
    "answered below /runs/{name}/ too, as long as that page is up; its own /runs/{name}/api/openapi.json tells it.",
    {"/api/workflows": ("The workflows that may be started", list[Entry]),
     "/api/workflow/{name}": ("What may be chosen for one of them", Form),
     "/api/runs": ("The runs, those that began last first", list[Run])},
    {"/": ("The page", "text/html"),
     "/runs/{name}/report.json": ("The report of a run that has ended", "application/json"),
     "/runs/{name}/picture.png": ("The picture of a run that says most", "image/png")})
_WAY: Final = re.compile(r"/runs/([^/]*)(/.*)?")
THREADS: Final = 4


class Desk:
    """The answers to each address; what is done is an action (`start`), or asked of the page of a run."""

    def __init__(self, menu: Menu, runs: Runs, static: Path = STATIC) -> None:
        self._menu, self._runs, self._static = menu, runs, static

    def build(self, *, hosts: Collection[str], door: Door, actions: Mapping[str, Action]) -> ASGIApp:
        """The whole app."""
        self._door = door
        routes = [
            Route("/", self.page),
            Route("/api/workflows", self.workflows),
            Route("/api/workflow/{name}", self.workflow),
            Route("/api/runs", self.runs),
            Route(f"/runs/{{name}}/{REPORT}", self.kept),
            Route(f"/runs/{{name}}/{PICTURE}", self.kept),
            Mount("/runs", self.lead),
            *assets(self._static)]
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="camlink-desk")
        return assemble(routes, DESK, pool, hosts=hosts, door=door, actions=actions)

    async def page(self, request: Request) -> Response:
        """The built page, or how to build it."""
        return built(self._static, "desk.html")

    async def workflows(self, request: Request) -> Response:
        """What may be started, as JSON."""
        return json_answer(await run_in_threadpool(self._menu.entries))

    async def workflow(self, request: Request) -> Response:
        """The form of one workflow as JSON."""
        return json_answer(await run_in_threadpool(self._menu.form, request.path_params["name"]))

    async def runs(self, request: Request) -> Response:
        """The runs as JSON."""
        return json_answer(await run_in_threadpool(self._runs.list))

    async def kept(self, request: Request) -> Response:
        """What a run has left in its folder; while it has not, its page is asked."""
        path = self._runs.find(request.path_params["name"])
        file = path / request.url.path.rpartition("/")[2] if path else None
        if file is None or not file.is_file():
            return _Led(self.lead)
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    async def lead(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead on to the page of a run, in the name of who asks."""
        found = _WAY.fullmatch(scope["raw_path"].decode("latin-1"))
        name, way = found.groups() if found else ("", None)
        path = self._runs.find(name)
        letter = self._runs.letter(path) if path else None
        held: Pass = scope[HOLDER]
        if scope["type"] == "http" and scope["method"] == "POST":
            self._door.audit.asked(peer_of(scope), held.who, f"POST {scope['path'][:200]}")
        if way == LOGIN and scope["type"] == "http":
            return await RedirectResponse(f"{LOGIN}?to=/runs/{name}/", 303)(scope, receive, send)
        if way and way.startswith("/dask/"):
            way = f"/runs/{name}{way}"  # these pages have to know their path, so it is the same here and there
        page = urlsplit(letter.url) if letter is not None else None
        if letter is not None and page is not None and way and (page.scheme, page.hostname) == ("http", "127.0.0.1"):
            said = (("Authorization", f"Bearer {letter.token}"), said_for(held))
            await Proxy(Target(port=page.port or 80, said=said), way, f"/runs/{name}")(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1001, "reason": "the page of this run is not up"})
        else:
            await _instead(name, path, letter, way)(scope, receive, send)


class _Led(Response):
    """An answer that another app gives."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it answer."""
        await self._app(scope, receive, send)


def _instead(name: str, path: Path | None, letter: Letter | None, way: str | None) -> Response:
    """What is answered where the page of a run cannot be led to."""
    if path is None:
        return json_answer(Fault(f"there is no run '{name[:80]}' here"), 404)
    if letter is not None and way is None:
        return RedirectResponse(f"/runs/{name}/", 303)
    if letter is not None:
        return json_answer(Fault(f"the page of this run is for other machines; open {letter.url}"), 404)
    if way in (None, "/"):
        return RedirectResponse(f"/#{name}", 303)
    return json_answer(Fault(f"the page of run '{name}' is not up any more; see /runs/{name}/{REPORT}"), 410)

