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

from camlink.display.desk.menu import Menu
from camlink.display.desk.records import PICTURE, REPORT, Entry, Form, Run
from camlink.display.desk.runs import Runs
from camlink.display.web.access import Pass
from camlink.display.web.action import Action, Fault, json_answer
from camlink.display.web.app import STATIC, assemble, assets, built
from camlink.display.web.door import HOLDER, LOGIN, Door, peer_of, said_for
from camlink.display.web.guard import READING
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

    async def lead(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead on to the page of a run, in the name of who asks, or to what it has left."""
        held: Pass = scope[HOLDER]
        answer = self._answer(scope["raw_path"].decode("latin-1"), held)
        if scope["type"] == "websocket" and not isinstance(answer, Proxy):
            await send({"type": "websocket.close", "code": 1001, "reason": "the page of this run is not up"})
            return
        if scope["type"] == "http" and scope["method"] not in READING:
            self._door.audit.asked(peer_of(scope), held.who, f"{scope['method']} {scope['path'][:200]}")
        await answer(scope, receive, send)

    def _answer(self, raw_path: str, held: Pass) -> ASGIApp:
        found = _WAY.fullmatch(raw_path)
        name, way = found.groups() if found else ("", None)
        if (path := self._runs.find(name)) is None:
            return json_answer(Fault(f"there is no run '{name[:80]}' here"), 404)
        if way is None:
            return RedirectResponse(f"/runs/{name}/", 303)
        if way == LOGIN:
            return RedirectResponse(f"{LOGIN}?to=/runs/{name}/", 303)
        if way[1:] in (REPORT, PICTURE) and (path / way[1:]).is_file():
            return FileResponse(path / way[1:], headers={"Cache-Control": "no-cache"})
        if (letter := self._runs.letter(path)) is None:
            gone = Fault(f"the page of run '{name}' is not up any more; see /runs/{name}/{REPORT}")
            return RedirectResponse(f"/#{name}", 303) if way == "/" else json_answer(gone, 410)
        page = urlsplit(letter.url)
        if (page.scheme, page.hostname) != ("http", "127.0.0.1"):
            return json_answer(Fault(f"the page of this run is for other machines; open {letter.url}"), 404)
        if way.startswith("/dask/"):
            way = f"/runs/{name}{way}"  # these pages have to know their path, so it is the same here and there
        said = (("Authorization", f"Bearer {letter.token}"), said_for(held))
        return Proxy(Target(port=page.port or 80, said=said), way, f"/runs/{name}")
