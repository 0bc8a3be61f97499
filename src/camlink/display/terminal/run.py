"""camlink run FILE: run a workflow and show it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camlink.display.terminal import options
from camlink.display.terminal.options import Browser, Folder, Host, Leave, Port, ReportFile, Sites, Tls, Values
from camlink.display.terminal.paper import paper
from camlink.display.terminal.session import Choices, present


def run(file: Annotated[Path, typer.Argument(help="The workflow, a YAML file.")], values: Values = None,
        sites: Sites = None, report: ReportFile = None, browser: Browser = True, leave: Leave = False,
        folder: Folder = None, port: Port = 0, host: Host = "127.0.0.1", tls: Tls = "auto") -> None:
    """Run a workflow and show it live."""
    workflow = options.read_flow(file, values, sites)
    raise typer.Exit(present(workflow, Choices(report, browser, leave, folder, port, host, tls), paper()))
