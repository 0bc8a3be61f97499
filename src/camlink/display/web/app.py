"""App: the routes of the page; everything that is shown reads from Live, everything that is done is an action."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from camlink.display.colour import COLOUR_MAPS
from camlink.display.image import LARGEST_VIEW_PX, Lens
from camlink.display.live import Live
from camlink.display.png import png
from camlink.display.web.action import Action, Actions
from camlink.display.web.audit import Audit
from camlink.display.web.crowd import Crowd
from camlink.display.web.door import Door
from camlink.display.web.guard import Guard
from camlink.display.web.metrics import CONTENT_TYPE, metrics_text
from camlink.display.web.openapi import SCHEMA, Graph, describe
from camlink.display.web.viewer import Viewer
from camlink.errors import InputError, ParameterError, UnknownName

STATIC: Final = Path(__file__).with_name("static")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
THREADS: Final = 2
NOT_BUILT: Final = """The page of camlink is not built into this installation.

Build it from the source folder:  cd web && npm ci && npm run build
The data are here all the same:   /api/status  /api/graph  /api/pictures  /api/picture/NAME.png
"""


class Routes:
    """The answers to each address; `live` is where they read."""

    def __init__(self, live: Live, pool: ThreadPoolExecutor, static: Path) -> None:
        self._live = live
        self._crowd = Crowd(live)
        self._pool = pool
        self._static = static

    def all(self) -> list[Route | Mount | WebSocketRoute]:
        """Every address of the app."""
        found: list[Route | Mount | WebSocketRoute] = [
            Route("/", self.page),
            Route("/api/status", self.status),
            Route("/api/graph", self.graph),
            Route("/api/pictures", self.pictures),
            Route("/api/colours", self.colours),
            Route("/api/picture/{name:path}.png", self.picture),
            Route("/api/value", self.value),
            Route("/metrics", self.metrics),
            WebSocketRoute("/live", self.live),
        ]
        if (self._static / "assets").is_dir():
            found.append(Mount("/assets", StaticFiles(directory=self._static / "assets", follow_symlink=False)))
        return found

    async def page(self, request: Request) -> Response:
        """The built page, or how to build it."""
        index = self._static / "index.html"
        if not index.is_file():
            return PlainTextResponse(NOT_BUILT, status_code=503)
        return FileResponse(index, headers={"Cache-Control": "no-cache"})

    async def status(self, request: Request) -> Response:
        """The status of the run as JSON; null before the first."""
        return _json(self._live.status())

    async def metrics(self, request: Request) -> Response:
        """The status of the run for Prometheus."""
        return Response(metrics_text(self._live.status()), headers={"Content-Type": CONTENT_TYPE})

    async def graph(self, request: Request) -> Response:
        """Operators and links as JSON."""
        status = self._live.status()
        if status is None:
            return _json(Graph("", (), ()))
        return _json(Graph(status.workflow, status.operators, status.links))

    async def pictures(self, request: Request) -> Response:
        """The labels of all pictures as JSON."""
        return _json(self._live.labels())

    async def colours(self, request: Request) -> Response:
        """The anchors of all colour maps as JSON."""
        return _json(dict(COLOUR_MAPS))

    async def picture(self, request: Request) -> Response:
        """A picture as PNG: ?part=phase&map=viridis&scale=log (or log=1)&low=&high=&region=y0,x0,y1,x1&size=."""
        query = dict(request.query_params)
        lens = _lens(query)
        colour_map = query.get("map", "viridis")

        def make() -> bytes:
            _, image = self._live.image(request.path_params["name"], lens)
            return png(image, colour_map)

        return Response(await run_in_threadpool(make), media_type="image/png", headers={"Cache-Control": "no-store"})

    async def value(self, request: Request) -> Response:
        """The value of one pixel as JSON: ?name=&y=&x=; a complex one as amplitude and phase [rad] too."""
        query = request.query_params
        y, x = _integer(query.get("y", ""), "y"), _integer(query.get("x", ""), "x")
        label, value = await run_in_threadpool(self._live.value, query.get("name", ""), y, x)
        answer: dict[str, Any] = {"name": label.name, "y": y, "x": x, "unit": label.unit, "version": label.version}
        if isinstance(value, complex):
            import cmath

            return _json({**answer, "value": abs(value), "phase_rad": cmath.phase(value)})
        return _json({**answer, "value": value})

    async def live(self, socket: WebSocket) -> None:
        """The socket of an open page."""
        await Viewer(socket, self._live, self._pool, self._crowd).serve()


def build_app(live: Live, *, hosts: Collection[str] = LOOPBACK, static: Path = STATIC, door: Door | None = None,
              actions: Mapping[str, Action] | None = None) -> ASGIApp:
    """The whole app around `live`; `hosts` are the names under which it may be asked ("*" for any).

    Without a `door` everybody may look, and nobody may act.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="camlink-picture")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        pool.shutdown(wait=False, cancel_futures=True)

    acting = Actions({} if actions is None else actions, door.audit if door else Audit())
    routes = [*Routes(live, pool, static).all(), *acting.routes(), *(door.routes() if door else ())]

    async def schema(request: Request) -> Response:
        return _json(describe(actions or {}))

    routes.append(Route(SCHEMA, schema))
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={InputError: _wrong_request})
    return Guard(app, hosts, door)


async def _wrong_request(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 404 if isinstance(error, UnknownName) else 400)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json",
                    headers={"Cache-Control": "no-store"})


def _integer(value: str, name: str) -> int:
    try:
        return int(value[:16])
    except ValueError:
        raise ParameterError(f"/api/value: '{name}' is '{value[:16]}'; give a whole number of pixels") from None


def _lens(query: dict[str, str]) -> Lens:
    size = query.get("size", str(LARGEST_VIEW_PX))
    wanted: dict[str, Any] = {"height": size, "width": size, "scale": "log" if query.get("log") == "1" else "linear"}
    wanted |= {key: query[key] for key in ("part", "scale", "low", "high") if key in query}
    if "region" in query:
        wanted["region"] = query["region"].split(",")
    try:
        lens = msgspec.convert(wanted, Lens, strict=False)
    except msgspec.ValidationError as error:
        raise ParameterError(f"/api/picture: {error}; known are part, map, scale, log, low, high, region and size"
                             ) from None
    if any(end is not None and not abs(end) < 1e30 for end in (lens.low, lens.high)):
        raise ParameterError("/api/picture: low and high must be finite numbers")
    return lens
