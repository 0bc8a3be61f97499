"""run() and open_run(): a workflow from Python, in a script or a notebook."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from camlink.errors import InputError, PeerLost, StorageError
from camlink.runtime.events import Order, Scale
from camlink.runtime.master import Master
from camlink.runtime.messages import Dashboard
from camlink.runtime.place.placers import foresee
from camlink.runtime.reach.luggage import pack
from camlink.runtime.report import Report
from camlink.runtime.status import RunStatus
from camlink.settings import read_settings
from camlink.workflow.check import Checked, check
from camlink.workflow.graph import Workflow
from camlink.workflow.operator import Screen
from camlink.workflow.provenance import provenance
from camlink.workflow.text import write_workflow

LEAVE_S: Final = 15.0
CLOSE_S: Final = 60.0  # a batch system may take so long to end the job of an agent, and who left would let it stand


def new_folder(runs: Path, workflow: str) -> Path:
    """A new folder for a run, which is nobody else's: <runs>/<date>-<workflow>; raises StorageError."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub(r'[^A-Za-z0-9_.-]', '-', workflow)[:64]}"
    for number in range(1000):
        folder = runs / (f"{stem}-{number}" if number else stem)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"cannot make the folder of the run {folder}: {error.strerror}; choose another with "
                               "--folder or CAMLINK_RUNS") from None
    raise PeerLost(f"{runs}: a thousand runs began in this second")


def check_here(workflow: Workflow) -> Checked:
    """Check a workflow, with its needs held against what is known of the machines of its sites before they come."""
    offers, faults = foresee(workflow)
    checked = check(workflow, offers=offers)
    try:
        pack(checked)
    except InputError as error:
        faults.append(str(error))
    return replace(checked, problems=(*checked.problems, *faults))


def make_master(workflow: Workflow, *, folder: Path | None = None, screen: Screen | None = None,
                watch: Callable[[RunStatus], None] = lambda _: None) -> Master:
    """The master of a run that has not begun; raises WorkflowError with every problem of the workflow."""
    settings = read_settings()
    checked = check_here(workflow).must_run()
    told = provenance(write_workflow(workflow))
    found = (folder or new_folder(settings.runs, workflow.name)).resolve()  # agents work in other folders
    return Master(checked, found, provenance=told, sockets=settings.sockets, screen=screen, watch=watch,
                  new=folder is None)


def run(workflow: Workflow, **options: Any) -> Report:
    """Run a workflow to its end and return its report; Ctrl-C ends it gracefully, what arrived is kept."""
    with open_run(workflow, **options) as opened:
        return opened.wait()


class OpenRun:
    """A run in the background: `status` now, `cancel()`, `wait()` for the report; as a context it ends what runs.

    In a program with an event loop (a notebook has one): `async with open_run(workflow) as opened: await opened`.
    """

    def __init__(self, master: Master) -> None:
        self._master = master
        self._result: Future[Report] = Future()
        self._result.set_running_or_notify_cancel()  # whoever stops waiting does not stop the run
        self._thread = threading.Thread(target=self._run, name="master", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.set_result(self._master.run())
        except BaseException as error:  # handed to the thread that waits
            self._result.set_exception(error)

    @property
    def status(self) -> RunStatus | None:
        """The run as it is now; None before it has begun."""
        return self._master.status

    def cancel(self, reason: str = "asked by its owner", *, force: bool = False) -> None:
        """Ask for the end."""
        self._master.cancel(reason, force=force)

    @property
    def choices(self) -> dict[str, Any]:
        """What orders may be about: sources that pause, transforms with replicas, fields of parameters by operator."""
        return self._master.choices

    @property
    def dashboards(self) -> Mapping[str, Dashboard]:
        """Where Dask's own pages of the clusters of this run are, by site."""
        return self._master.dashboards

    def order(self, order: Order) -> None:
        """Ask for something while the run goes on, such as `Pause()` or `Tag(text="good")`; raises InputError."""
        self._master.order(order)

    def scale(self, operator: str, replicas: int) -> None:
        """Ask for so many replicas of a transform, while the run goes on; raises InputError."""
        self.order(Scale(operator=operator, replicas=replicas))

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> Report:
        """The report, once the run is over; raises PeerLost after `timeout_s`, and whatever ended the master."""
        try:
            return self._result.result(timeout_s)
        except TimeoutError:
            if self._result.done():  # the master's own
                raise
            raise PeerLost(f"the run is not over after {timeout_s} s; wait longer or cancel it") from None

    def __await__(self) -> Generator[Any, None, Report]:
        """The report, once the run is over, without holding up the event loop."""
        return asyncio.wrap_future(self._result).__await__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        at: TracebackType | None) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self.over:
            self.cancel("interrupted" if kind is KeyboardInterrupt else "left by its owner")
            self._thread.join(LEAVE_S)
        if not self.over:
            self.cancel("left by its owner", force=True)
            self._thread.join(CLOSE_S)


def open_run(workflow: Workflow, **options: Any) -> OpenRun:
    """Start a workflow in the background; options as of `make_master`."""
    return OpenRun(make_master(workflow, **options))


