"""App: the routes of the page; everything that is shown reads from Live, everything that is done is an action."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from camlink.display.colour import COLOUR_MAPS
from camlink.display.image import LARGEST_VIEW_PX, Lens
from camlink.display.live import Live
from camlink.display.png import png
from camlink.display.web.action import Action, Actions, json_answer
from camlink.display.web.crowd import Crowd
from camlink.display.web.dashboards import Dashboards
from camlink.display.web.door import Door
from camlink.display.web.guard import Guard
from camlink.display.web.metrics import CONTENT_TYPE, metrics_text
from camlink.display.web.openapi import RUN, SCHEMA, Described, Graph, describe
from camlink.display.web.viewer import Viewer
from camlink.errors import CamlinkError, InputError, ParameterError, UnknownName
from camlink.runtime.messages import Dashboard

T = TypeVar("T")

STATIC: Final = Path(__file__).with_name("static")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
THREADS: Final = 2
THUMB_PX: Final = 512
BEST: Final = {"object": "gray", "map": "viridis", "frame": "inferno"}
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

    def all(self) -> list[BaseRoute]:
        """Every address of the app."""
        found: list[BaseRoute] = [
            Route("/", self.page),
            Route("/api/status", self.status),
            Route("/api/graph", self.graph),
            Route("/api/pictures", self.pictures),
            Route("/api/colours", self.colours),
            Route("/api/picture/{name:path}.png", self.picture),
            Route("/api/value", self.value),
            Route("/metrics", self.metrics),
            Route("/picture.png", self.best_picture),
            WebSocketRoute("/live", self.live),
        ]
        return found + assets(self._static)

    async def page(self, request: Request) -> Response:
        """The built page, or how to build it."""
        return built(self._static)

    async def status(self, request: Request) -> Response:
        """The status of the run as JSON; null before the first."""
        return json_answer(self._live.status())

    async def metrics(self, request: Request) -> Response:
        """The status of the run for Prometheus."""
        return Response(metrics_text(self._live.status()), headers={"Content-Type": CONTENT_TYPE})

    async def graph(self, request: Request) -> Response:
        """Operators and links as JSON."""
        status = self._live.status()
        if status is None:
            return json_answer(Graph("", (), ()))
        return json_answer(Graph(status.workflow, status.operators, status.links))

    async def pictures(self, request: Request) -> Response:
        """The labels of all pictures as JSON."""
        return json_answer(self._live.labels())

    async def colours(self, request: Request) -> Response:
        """The anchors of all colour maps as JSON."""
        return json_answer(dict(COLOUR_MAPS))

    async def picture(self, request: Request) -> Response:
        """A picture as PNG: ?part=phase&map=viridis&scale=log (or log=1)&low=&high=&region=y0,x0,y1,x1&size=."""
        query = dict(request.query_params)
        lens = _lens(query)
        colour_map = query.get("map", "viridis")

        def make() -> bytes:
            _, image = self._live.image(request.path_params["name"], lens)
            return png(image, colour_map)

        return Response(await self._make(make), media_type="image/png", headers={"Cache-Control": "no-store"})

    async def best_picture(self, request: Request) -> Response:
        """The picture that says most now, as PNG."""
        data = await self._make(best_picture, self._live)
        if not data:
            return Response(status_code=204)  # the page asks again, and a browser does not complain
        return Response(data, media_type="image/png", headers={"Cache-Control": "no-store"})

    async def value(self, request: Request) -> Response:
        """The value of one pixel as JSON: ?name=&y=&x=; a complex one as amplitude and phase [rad] too."""
        query = request.query_params
        y, x = _integer(query.get("y", ""), "y"), _integer(query.get("x", ""), "x")
        label, value = await self._make(self._live.value, query.get("name", ""), y, x)
        answer: dict[str, Any] = {"name": label.name, "y": y, "x": x, "unit": label.unit, "version": label.version}
        if isinstance(value, complex):
            import cmath

            return json_answer({**answer, "value": abs(value), "phase_rad": cmath.phase(value)})
        return json_answer({**answer, "value": value})

    async def _make(self, make: Callable[..., T], *given: Any) -> T:
        """In the threads that all pictures are made in: however many ask, the run keeps the rest of the machine."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, make, *given)

    async def live(self, socket: WebSocket) -> None:
        """The socket of an open page."""
        await Viewer(socket, self._live, self._pool, self._crowd).serve()


def build_app(live: Live, *, hosts: Collection[str], door: Door, actions: Mapping[str, Action],
              dashboards: Mapping[str, Dashboard], static: Path = STATIC) -> ASGIApp:
    """The whole app around `live`; `hosts` are the names under which it may be asked ("*" for any)."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="camlink-picture")
    routes = [*Routes(live, pool, static).all(), *Dashboards(dashboards, door.audit).routes()]
    return assemble(routes, RUN, pool, hosts=hosts, door=door, actions=actions)


def assemble(routes: Sequence[BaseRoute], described: Described, pool: ThreadPoolExecutor, *, hosts: Collection[str],
             door: Door, actions: Mapping[str, Action]) -> ASGIApp:
    """An app of these routes, its actions, its door and its description; `pool` is closed with it."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        pool.shutdown(wait=False, cancel_futures=True)

    async def schema(request: Request) -> Response:
        return json_answer(describe(actions, described))

    every = [*Actions(actions, door.audit).routes(), *door.routes(), Route(SCHEMA, schema), *routes]
    app = Starlette(routes=every, lifespan=lifespan,
                    exception_handlers={InputError: _wrong_request, CamlinkError: _failed})
    return Guard(app, hosts, door)


def best_picture(live: Live) -> bytes:
    """The largest picture of the kind that says most (object, map, frame, any) as PNG; nothing where there is none."""
    labels = sorted(live.labels(), key=lambda label: label.shape[0] * label.shape[1], reverse=True)
    best = next((label for kind in (*BEST, "") for label in labels if label.kind == kind or not kind), None)
    if best is None:
        return b""
    lens = Lens(height=THUMB_PX, width=THUMB_PX, scale="log" if best.kind == "frame" else "linear",
                part="amplitude" if "amplitude" in best.parts else "value")
    return png(live.image(best.name, lens)[1], BEST.get(best.kind, "viridis"))


def built(static: Path, name: str = "index.html") -> Response:
    """The built page `name`, or how to build it."""
    if not (static / name).is_file():
        return PlainTextResponse(NOT_BUILT, status_code=503)
    return FileResponse(static / name, headers={"Cache-Control": "no-cache"})


def assets(static: Path) -> list[BaseRoute]:
    """What the built pages need."""
    folder = static / "assets"
    return [Mount("/assets", StaticFiles(directory=folder, follow_symlink=False))] if folder.is_dir() else []


async def _wrong_request(request: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, 404 if isinstance(error, UnknownName) else 400)


async def _failed(request: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, 503)


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
