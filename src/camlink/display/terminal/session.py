"""A run with people around it: the page and the terminal show it, Ctrl-C ends it gracefully, the report is written."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from camlink.display.desk.records import AUDIT, PICTURE, REPORT
from camlink.display.live import Live
from camlink.display.terminal.console import draw_status, print_report
from camlink.display.terminal.sketch import sketches, sparkline
from camlink.errors import StorageError
from camlink.runtime.report import Report
from camlink.runtime.run import OpenRun, make_master
from camlink.runtime.status import RunStatus
from camlink.workflow.graph import Workflow

LEAVE_AFTER_S: Final = 5.0


@dataclass(frozen=True)
class Choices:
    """What the user chose for a run."""

    report: Path | None = None
    browser: bool = True
    leave: bool = False
    folder: Path | None = None
    port: int = 0
    host: str = "127.0.0.1"
    tls: str = "auto"


def present(workflow: Workflow, choices: Choices, console: Console,
            finish: Callable[[Report], Report] = lambda report: report) -> int:
    """Run a workflow with its page and give its exit code.

    `finish` may add to the report what can be known only after the end.
    """
    live = Live()
    master = make_master(workflow, folder=choices.folder, screen=live, watch=live.put_status)
    with ExitStack() as stack:
        stack.callback(master.close)
        master.warm()  # what workers need is imported while we import the page

        from camlink.display.client import LETTER
        from camlink.display.terminal.welcome import introduce, show_in_browser
        from camlink.display.web.encryption import encryption_for
        from camlink.display.web.ordering import actions_of
        from camlink.display.web.server import PageServer

        page = PageServer(live, choices.host, choices.port, encryption_for(choices.host, choices.tls))
        stack.pop_all()  # from here on its run closes it
    try:
        introduce(page, console)
        if choices.browser:
            show_in_browser(page)
        page.audit.keep(master.folder / "log" / AUDIT)
        opened = OpenRun(master)
        page.actions |= actions_of(opened.order, opened.choices)
        page.dashboards |= opened.dashboards
        page.leave_letter(master.folder / "log" / LETTER)
        report = finish(follow(opened, live, console))
        if choices.report is not None:
            report.write(choices.report)
        print_report(console, report)
        _keep(report, live, master.folder)
        if not choices.leave:
            _linger(page, console)
    finally:
        page.close()
    return exit_code(report)


def _keep(report: Report, live: Live, folder: Path) -> None:
    """Leave report and picture in the folder of the run; raises StorageError."""
    from camlink.display.web.app import best_picture

    try:
        if data := best_picture(live):
            (folder / PICTURE).write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot write {folder / PICTURE}: {error.strerror}") from None
    report.write(folder / REPORT)


def exit_code(report: Report) -> int:
    """0 complete, 1 degraded or failed, 2 failed because of wrong input."""
    if report.verdict == "complete":
        return 0
    return 2 if report.verdict == "failed" and report.wrong_input else 1


def follow(opened: OpenRun, live: Live, console: Console) -> Report:
    """Draw until the run is over; the first signal ends it gracefully, the second at once."""
    with opened, _signals(opened, console):
        if console.is_terminal:
            with RichLive(console=console, auto_refresh=False, transient=True) as screen:
                while not opened.over:
                    if status := live.status():
                        screen.update(Group(draw_status(status), _pictures(live, console)), refresh=True)
                    time.sleep(0.25)
        else:
            _say_steps(opened, live, console)
        return opened.wait(1.0)


def _pictures(live: Live, console: Console) -> Group:
    """What there is to see, as large as the terminal allows; nothing in a terminal without colours."""
    width = min(console.width // 3 - 4, (console.height - 24) * 2)
    parts: list[Any] = []
    if console.color_system and not console.no_color and width >= 16:
        parts.append(sketches(live, width))
    for source, columns in live.curves().items():
        if bars := sparkline(columns.get("fourier_error", [])):
            parts.append(Text(f"{source} fourier_error {bars}", style="cyan"))
    return Group(*parts)


def _say_steps(opened: OpenRun, live: Live, console: Console) -> None:
    """Without a terminal: one line when a step is done, and one every few seconds."""
    said: set[str] = set()
    spoke = time.monotonic()
    while not opened.over:
        status = live.status()
        for line in _news(status, said) if status else ():
            console.print(line, highlight=False, markup=False)
        if status and time.monotonic() - spoke > 5:
            spoke = time.monotonic()
            frames, before = status.frames, next((s for s in status.steps[:-1] if s.state == "active"), None)
            text = before.text if before else f"{frames.get('captured', 0)} of {frames.get('expected', 0)} frames"
            console.print(f"        {status.elapsed_s:.0f} s: {text}", highlight=False, markup=False)
        time.sleep(0.1)


def _news(status: RunStatus, said: set[str]) -> Iterator[str]:
    for number, step in enumerate(status.steps, 1):
        if step.state in ("done", "failed") and step.title not in said:
            said.add(step.title)
            yield f"step {number}  {step.title}: {step.text} ({status.elapsed_s:.1f} s)"
    for operator in status.operators:
        address = str(operator.facts.get("address", ""))
        if address and address not in said:
            said.add(address)
            yield f"        {operator.name} waits at {address}"


@contextmanager
def _signals(opened: OpenRun, console: Console) -> Iterator[None]:
    count = 0

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal count
        count += 1
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        opened.cancel(name, force=count > 1)
        console.print(f"{name}: ending, what arrived is kept" if count == 1 else "ending at once", highlight=False)

    before: dict[int, Any] = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _linger(page: Any, console: Console) -> None:
    """Keep the page up: until Ctrl-C at a terminal, else while somebody looks at it."""
    if sys.stdin.isatty():
        console.print("The page stays up; press Ctrl-C to leave.")
    try:
        alone = time.monotonic()
        while sys.stdin.isatty() or time.monotonic() - alone < LEAVE_AFTER_S:
            time.sleep(0.2)
            if page.viewers:
                alone = time.monotonic()
    except KeyboardInterrupt:
        console.print()
