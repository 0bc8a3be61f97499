"""camlink replay FILE: turn a recorded scan or a tape back into a stream, and reconstruct it live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camlink.carry.disk.journal import SUFFIX
from camlink.display.terminal.options import Browser, Folder, Host, Leave, Port, ReportFile, Tls, Values, read_sets
from camlink.display.terminal.paper import paper
from camlink.display.terminal.session import Choices, present
from camlink.errors import InputError
from camlink.workflow.graph import Node, Workflow


def replay(file: Annotated[Path, typer.Argument(help="A CXI, ptyd or siemens-star-small file, or a tape.")],
           rate_hz: Annotated[float, typer.Option(min=0, help="Frames a second, in place of the recorded pace.")] = 0,
           speed: Annotated[float, typer.Option(min=0, help="Times the recorded pace; 0: as fast as taken.")] = 1.0,
           fault: Annotated[str, typer.Option(help="Of a tape: late=, lost=, duplicated=, reordered=, corrupt=, seed=.")
                            ] = "",
           values: Values = None, report: ReportFile = None, browser: Browser = True, leave: Leave = False,
           folder: Folder = None, port: Port = 0, host: Host = "127.0.0.1", tls: Tls = "auto") -> None:
    """Replay a recorded scan through the ptychography graph."""
    tape = file.suffix == SUFFIX
    if tape and rate_hz:
        raise InputError("--rate-hz: a tape is played at its own pace; take --speed")
    if fault and not tape:
        raise InputError(f"--fault: {file} is no tape; `camlink record FILE --tap OPERATOR` makes one")
    made = tape_workflow(file, speed, fault) if tape else replay_workflow(file, rate_hz, speed)
    workflow = made.with_values(read_sets(values))
    raise typer.Exit(present(workflow, Choices(report, browser, leave, folder, port, host, tls), paper()))


def replay_workflow(file: Path, rate_hz: float, speed: float = 1.0) -> Workflow:
    """The graph for frames that are reduced already: replay, STXM map, solver, record, page.

    Raises InputError for a file that is not there or of no known format.
    """
    from camlink.capture.replay import find
    from camlink.carry.formats.any_file import format_of

    format_of(find(str(file)))
    flow = Workflow("replay")
    return _solved(flow, flow.add("frames", "replay", file=str(file), rate_hz=rate_hz, speed=speed))


def tape_workflow(file: Path, speed: float, fault: str) -> Workflow:
    """The graph for a tape: raw frames are reduced first; raises InputError for a tape or faults that cannot be."""
    from camlink.block import RawFrames
    from camlink.capture.tape.faults import TapeFaults
    from camlink.capture.tape.source import first_block

    TapeFaults.parse(fault)
    flow = Workflow("replay")
    raw = isinstance(first_block(file), RawFrames)
    frames = flow.add("tape", "tape.raw" if raw else "tape.counts", file=str(file.resolve()), speed=speed, faults=fault)
    return _solved(flow, flow.add("reduce", "ptychography.reduce", frames) if raw else frames)


def _solved(flow: Workflow, frames: Node) -> Workflow:
    stxm = flow.add("stxm", "stxm", frames)
    solve = flow.add("solve", "ptychography.solve", frames)
    flow.add("record", "cxi", frames, solve)
    flow.add("look", "view", frames, stxm, solve, policy="latest")
    return flow
