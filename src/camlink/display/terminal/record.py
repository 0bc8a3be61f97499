"""camlink record FILE --tap OPERATOR: run a workflow and write what an operator gives, to be played again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camlink.display.terminal.options import Browser, Folder, Host, Leave, Port, ReportFile, Tls, Values, read_flow
from camlink.display.terminal.paper import paper
from camlink.display.terminal.session import Choices, present
from camlink.workflow.graph import Workflow


def record(file: Annotated[Path, typer.Argument(help="The workflow, a YAML file.")],
           tap: Annotated[list[str], typer.Option(help="Operator (or operator.port) whose output is written; may be "
                                                       "given several times.")],
           values: Values = None, report: ReportFile = None, browser: Browser = True, leave: Leave = False,
           folder: Folder = None, port: Port = 0, host: Host = "127.0.0.1", tls: Tls = "auto") -> None:
    """Run a workflow and write every block of some links into OPERATOR.blocks; `camlink replay` plays it."""
    workflow = tapped(read_flow(file, values), tap)
    raise typer.Exit(present(workflow, Choices(report, browser, leave, folder, port, host, tls), paper()))


def tapped(workflow: Workflow, taps: list[str]) -> Workflow:
    """The workflow with a tap on the output of each named operator."""
    for name in taps:
        workflow.add(f"tap_{name.replace('.', '_')}", "tap", name, file=f"{name}.blocks")
    return workflow
