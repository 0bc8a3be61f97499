"""camlink twin fastccd: the simulated camera alone, for a receiver of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from camlink.display.live import Live
from camlink.display.terminal.console import print_report
from camlink.display.terminal.options import Folder, Values, read_sets
from camlink.display.terminal.paper import paper
from camlink.display.terminal.session import exit_code, follow
from camlink.errors import UnknownName
from camlink.runtime.run import OpenRun, make_master
from camlink.workflow.graph import DEFAULT_SITE, Site, Workflow

TWINS = ("fastccd",)


def twin(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(TWINS)}.")] = "fastccd",
         fault: Annotated[str, typer.Option(help="What the wire does wrong, as in drop-packets=0.01.")] = "",
         port: Annotated[int, typer.Option(min=0, max=65535, help="UDP port of the camera; 0 takes a free one.")] = 0,
         values: Values = None, folder: Folder = None) -> None:
    """Simulate a camera: it says where it waits, and sends its scan to whoever registers there with a datagram."""
    if name not in TWINS:
        raise UnknownName("twin", name, TWINS)
    flow = Workflow("twin", sites={DEFAULT_SITE: Site(DEFAULT_SITE, "inline")})
    flow.add("beamline", "twin", faults=fault, port=port)
    chosen = read_sets([v if "." in v.partition("=")[0] else f"beamline.{v}" for v in values or []])
    live, console = Live(), paper()
    report = follow(OpenRun(make_master(flow.with_values(chosen), folder=folder, screen=live, watch=live.put_status)),
                    live, console)
    print_report(console, report)
    raise typer.Exit(exit_code(report))
