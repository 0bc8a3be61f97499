"""OpenAPI: every address of the page for other programs, described by the records that it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from camlink import __version__
from camlink.display.offer import Label
from camlink.display.web.action import PATH, Action, Answer, Fault, Me
from camlink.display.web.dashboards import Shown
from camlink.runtime.status import LinkStatus, OperatorStatus, RunStatus

SCHEMA: Final = "/api/openapi.json"
_REF: Final = "#/components/schemas/{name}"


class Graph(msgspec.Struct, frozen=True):
    """Operators and links of a workflow."""

    workflow: str
    nodes: tuple[OperatorStatus, ...]
    edges: tuple[LinkStatus, ...]


class Pixel(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of one pixel; of a complex one its amplitude and phase [rad]."""

    name: str
    y: int
    x: int
    unit: str
    version: int
    value: float
    phase_rad: float | None = None


class Described(msgspec.Struct, frozen=True):
    """What a page answers beside its actions: JSON with its record, other media, and what may follow a `?`."""

    text: str
    read: dict[str, tuple[str, Any]]
    other: dict[str, tuple[str, str]]
    query: dict[str, tuple[tuple[str, str, bool], ...]] = {}


RUN: Final = Described(
    "A run of camlink: what the page shows and does. The socket /live is for the page.",
    {"/api/status": ("The status of the run; null before the first", RunStatus | None),
     "/api/graph": ("Operators and links", Graph),
     "/api/pictures": ("The labels of all pictures", list[Label]),
     "/api/colours": ("The anchors of all colour maps", dict[str, Any]),
     "/api/dashboards": ("Dask's own pages of the clusters, for who may act", list[Shown]),
     "/api/value": ("The value of one pixel", Pixel)},
    {"/": ("The page", "text/html"),
     "/metrics": ("The status of the run for Prometheus", "text/plain"),
     "/picture.png": ("The picture that says most now", "image/png"),
     "/api/picture/{name}.png": ("A picture", "image/png")},
    {"/api/value": (("name", "string", True), ("y", "integer", True), ("x", "integer", True)),
     "/api/picture/{name}.png": (("part", "string", False), ("map", "string", False), ("scale", "string", False),
                                 ("low", "number", False), ("high", "number", False), ("region", "string", False),
                                 ("size", "integer", False))})
_EVERYWHERE: Final = Described(
    "", {"/api/me": ("Who asks, and what the role may do", Me)},
    {"/login": ("Come in by a token", "text/html"), SCHEMA: ("This description", "application/json")},
    {"/login": (("token", "string", False), ("who", "string", False), ("to", "string", False))})


def describe(actions: Mapping[str, Action], page: Described = RUN) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a page with these actions."""
    read, other = page.read | _EVERYWHERE.read, page.other | _EVERYWHERE.other
    query = page.query | _EVERYWHERE.query
    kinds = [kind for _, kind in read.values()] + [action.arguments for action in actions.values()] + [Answer, Fault]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    known = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, Any] = {path: {"get": _get(path, text, "application/json", known[repr(kind)], known, query)}
                             for path, (text, kind) in read.items()}
    paths |= {path: {"get": _get(path, text, media, {}, known, query)} for path, (text, media) in other.items()}
    form = {"type": "object", "properties": {name: {"type": "string"} for name in ("token", "who", "to")}}
    paths["/login"]["post"] = {
        "summary": "Come in by the form",
        "responses": {"303": {"description": "in"}, "401": {"description": "refused"}},
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}}}
    paths["/logout"] = {"post": {"summary": "Leave", "responses": {"303": {"description": "out"}}}}
    for name, action in actions.items():
        paths[PATH + name] = {"post": _post(name, action, known)}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "camlink", "version": __version__,
                 "description": page.text},
        "paths": paths, "security": [{"token": []}, {"cookie": []}],
        "components": {"schemas": components, "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": "camlink-PORT"}}},
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))  # JSON knows no tuples
    return plain


def _get(path: str, text: str, media: str, schema: Any, known: Mapping[str, Any],
         query: Mapping[str, tuple[tuple[str, str, bool], ...]]) -> dict[str, Any]:
    asked = [{"name": name, "in": "query", "required": must, "schema": {"type": kind}}
             for name, kind, must in query.get(path, ())]
    if "{name}" in path:
        asked.append({"name": "name", "in": "path", "required": True, "schema": {"type": "string"}})
    return {"summary": text, "parameters": asked, "responses": {
        "200": {"description": text, "content": {media: {"schema": schema}}}, **_refusals(known)}}


def _post(name: str, action: Action, known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name, "summary": action.help or name,
        "description": f"Needs the role {action.role.name.lower()}.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": known[repr(action.arguments)]}}},
        "responses": {"200": {"description": "done", "content": {"application/json": {"schema": known[repr(Answer)]}}},
                      **_refusals(known)}}


def _refusals(known: Mapping[str, Any]) -> dict[str, Any]:
    fault = {"application/json": {"schema": known[repr(Fault)]}}
    return {"400": {"description": "wrong input", "content": fault}, "401": {"description": "login first"},
            "403": {"description": "the role is not enough, or asked by another site"},
            "404": {"description": "no such name", "content": fault}}
