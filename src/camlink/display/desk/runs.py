"""Runs: what the folder of all runs tells of each that has a page; nothing is remembered, so nothing is forgotten.

A run that goes on is asked by its page, whose letter lies in its folder; one that has ended left its report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os.path import isfile
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from camlink.display.client import LETTER, Client, Letter
from camlink.display.desk.records import AUDIT, PICTURE, REPORT, STARTED, Run, Started, State
from camlink.errors import InputError, PeerLost
from camlink.runtime.log import EVENTS
from camlink.runtime.status import RunStatus

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")
MOST: Final = 100
_FIRST: Final = re.compile(rb'\{"at":(\d+\.?\d*)')
ASK_S: Final = 2.0
ASKERS: Final = 8
CLOCK_S: Final = 1.0


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    """What of a report is shown in a list."""

    workflow: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    frames: dict[str, Any] = {}
    times: dict[str, float | None] = {}
    result: dict[str, Any] = {}


class Runs:
    """The runs in `folder`, those that began last first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(ASKERS, thread_name_prefix="camlink-ask")

    def list(self) -> list[Run]:
        """The newest of them; takes `ASK_S` for every `ASKERS` pages that do not answer."""
        return list(self._pool.map(self._look, self._folders()[:MOST]))

    def going(self) -> int:
        """How many go on."""
        return sum(run.state in ("starting", "running", "silent") for run in self.list())

    def find(self, name: str) -> Path | None:
        """The folder of a run by its name; None for whatever is no run here."""
        path = self.folder / name
        return path if NAME.fullmatch(name) and _is_run(path) else None

    def letter(self, path: Path) -> Letter | None:
        """Where the page of a run is, if it is up."""
        found: Letter | None = _read(path / "log" / LETTER, Letter)
        return found

    def close(self) -> None:
        """End the threads that ask."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _folders(self) -> Sequence[tuple[float, Path]]:
        try:
            found = list(self.folder.iterdir())
        except OSError:
            return []
        return sorted(((_began(path), path) for path in found if NAME.fullmatch(path.name) and _is_run(path)),
                      reverse=True)

    def _look(self, found: tuple[float, Path]) -> Run:
        began, path = found
        letter, started = self.letter(path), _read(path / "log" / STARTED, Started)
        base = Run(name=path.name, state="lost", began=began, page=letter is not None,
                   workflow=started.workflow if started else "", who=started.who if started else "", folder=str(path),
                   picture=letter is not None or (path / PICTURE).exists())
        if (report := _read(path / REPORT, _Report)) is not None:
            files = tuple(Path(file).name for file in report.result.get("files", ()) if isinstance(file, str))
            return _with(base, "ended", workflow=report.workflow, verdict=report.verdict, reasons=report.reasons,
                         frames=report.frames, elapsed_s=max((s for s in report.times.values() if s), default=0.0),
                         files=files, result={k: v for k, v in report.result.items() if isinstance(v, int | float)})
        if letter is None:
            return _with(base, "starting" if started and _lives(started) else "lost")
        return self._ask(base, letter)

    def _ask(self, base: Run, letter: Letter) -> Run:
        try:
            with Client(letter.url, letter.token, letter.fingerprint, timeout_s=ASK_S) as client:
                status = client.status()
        except PeerLost as error:
            return _with(base, "silent" if isinstance(error.__context__, TimeoutError) else "lost", page=False)
        except (InputError, msgspec.MsgspecError):  # somebody else has the port by now
            return _with(base, "lost", page=False)
        told = status or RunStatus(version=0, workflow=base.workflow)
        return _with(base, "running" if status else "starting", workflow=told.workflow, verdict=told.verdict or "",
                     reasons=told.reasons, frames=told.frames, elapsed_s=told.elapsed_s, paused=told.paused)


def _with(run: Run, state: State, **more: Any) -> Run:
    return msgspec.structs.replace(run, state=state, **more)


def _lives(started: Started) -> bool:
    """Whether its process has not ended; one that has may wait to be reaped, or its number may be another's by now."""
    try:
        process = psutil.Process(started.pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < started.at + CLOCK_S
    except psutil.Error:
        return False


def _is_run(path: Path) -> bool:
    """Whether it was started here, or had a page by itself: a run within a program leaves neither page nor report."""
    return isfile(path / "log" / AUDIT) or isfile(path / "log" / STARTED)


def _began(path: Path) -> float:
    """When it began [s, UNIX]: as its starter noted, or by the first event of its log."""
    if (started := _read(path / "log" / STARTED, Started)) is not None:
        return float(started.at)
    try:
        with (path / EVENTS).open("rb") as log:
            return float(_FIRST.match(log.read(40))[1])  # type: ignore[index]
    except (OSError, TypeError):
        return 0.0


def _read(path: Path, kind: type[Any]) -> Any:
    """A record from a JSON file; None where there is none, or another."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
