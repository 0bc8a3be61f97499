"""camlink replay FILE: turn a recorded scan back into a stream, and reconstruct it live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from camlink.display.terminal.options import Browser, Folder, Host, Leave, Port, ReportFile, Values, read_sets
from camlink.display.terminal.session import Choices, present
from camlink.workflow.graph import Workflow


def replay(file: Annotated[Path, typer.Argument(help="A CXI, ptyd or siemens-star-small file.")],
           rate_hz: Annotated[float, typer.Option(min=0, help="Frames a second; 0: as fast as they are taken.")] = 0,
           values: Values = None, report: ReportFile = None, browser: Browser = True, leave: Leave = False,
           folder: Folder = None, port: Port = 0, host: Host = "127.0.0.1") -> None:
    """Replay a recorded scan through the ptychography graph."""
    workflow = replay_workflow(file, rate_hz).with_values(read_sets(values))
    raise typer.Exit(present(workflow, Choices(report, browser, leave, folder, port, host), Console()))


def replay_workflow(file: Path, rate_hz: float) -> Workflow:
    """The graph for frames that are reduced already: replay, STXM map, solver, record, page."""
    flow = Workflow("replay")
    frames = flow.add("frames", "replay", file=str(file), rate_hz=rate_hz)
    stxm = flow.add("stxm", "stxm", frames)
    solve = flow.add("solve", "ptychography.solve", frames)
    flow.add("record", "cxi", frames, solve)
    flow.add("look", "view", frames, stxm, solve, policy="latest")
    return flow
