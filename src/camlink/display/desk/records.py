"""What a desk and its clients say to each other."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

STARTED: Final = "started.json"
AUDIT: Final = "page.jsonl"
REPORT: Final = "report.json"
PICTURE: Final = "picture.png"

State = Literal["starting", "running", "silent", "ended", "lost"]


class Entry(msgspec.Struct, frozen=True):
    """A workflow that may be started, by its name on the menu, and the first words of its file."""

    name: str
    about: str = ""


class Part(msgspec.Struct, frozen=True):
    """The parameters of one operator: rows as of `workflow.parameter.fields`, with the `value` that they have."""

    operator: str
    use: str
    help: str
    fields: list[dict[str, Any]]


class Form(msgspec.Struct, frozen=True):
    """What may be chosen for a workflow, and what stands in the way of its start."""

    name: str
    about: str
    parts: list[Part]
    problem: str = ""


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start a workflow of the menu with other values: {"operator.parameter": value}."""

    workflow: str
    parameters: dict[str, Any] = {}


class Started(msgspec.Struct, frozen=True):
    """A run that was started: its name, who asked and when [s, UNIX], and the process that it is."""

    run: str
    workflow: str
    who: str
    at: float
    pid: int
    parameters: dict[str, Any] = {}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the folder of the desk.

    `lost` is one whose processes were ended before its report, `silent` one whose page does not answer; `page` tells
    whether its page is up, `picture` whether there is one of it.
    """

    name: str
    state: State
    began: float
    workflow: str = ""
    who: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    frames: dict[str, Any] = {}
    elapsed_s: float = 0.0
    paused: bool = False
    page: bool = False
    picture: bool = False
    folder: str = ""
    files: tuple[str, ...] = ()
    result: dict[str, Any] = {}
