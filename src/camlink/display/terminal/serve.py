"""camlink serve: a page from which workflows are started, and that leads to the pages of their runs by one port."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from camlink.display.terminal.options import Browser, Host, Port, Tls

Paths = Annotated[list[Path] | None, typer.Argument(help="Folders of workflows, or YAML files; none for demos only.")]
Most = Annotated[int, typer.Option("--most", min=1, max=64, help="So many runs go on at once at most.")]


def serve(workflows: Paths = None, most: Most = 4, browser: Browser = True, port: Port = 0, host: Host = "127.0.0.1",
          tls: Tls = "auto") -> None:
    """Start runs from a page, and see them all by one port; they go on when it ends, and are found again."""
    from camlink.display.desk.server import DeskServer
    from camlink.display.terminal.demo import DEMOS, demo_text
    from camlink.display.terminal.welcome import introduce, show_in_browser
    from camlink.display.web.encryption import encryption_for
    from camlink.settings import read_settings

    console, ended = Console(), threading.Event()
    demos = {name: demo_text(name) for name in DEMOS}
    with DeskServer(workflows or [], demos, read_settings().runs, most, host, port, encryption_for(host, tls)) as desk:
        introduce(desk, console)
        console.print(f"runs    {desk.folder}", highlight=False, soft_wrap=True)
        if browser:
            show_in_browser(desk)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: ended.set())
        ended.wait()
    console.print("The desk is closed; what it started goes on.")
