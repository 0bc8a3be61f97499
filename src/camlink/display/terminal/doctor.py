"""camlink doctor [FILE]: whether this machine is fit for a scan, row by row, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from camlink.display.terminal.options import Values, read_flow
from camlink.display.terminal.paper import paper

_STYLE: Final = {"ok": "green", "warn": "yellow", "refuse": "bold red"}


def doctor(file: Annotated[Path | None, typer.Argument(help="A workflow, to look at its links and ports too.")] = None,
           values: Values = None,
           listeners: Annotated[bool, typer.Option("--listeners", help="Only list every port and socket of what runs, "
                                                   "and who could talk to it.")] = False) -> None:
    """Look at this machine before a scan; exit code 1 when something refuses, 0 for warnings."""
    if listeners:
        raise typer.Exit(_show_listeners(paper()))
    from camlink.runtime.doctor.machine import look_at_machine
    from camlink.runtime.doctor.rates import look_at_rates
    from camlink.settings import read_settings

    settings = read_settings()
    links, demand, ports = _asked(file, values) if file is not None else ((), {}, [])
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("what", "", "found", "what to do"):
        table.add_column(title, overflow="fold")
    findings = [*look_at_machine(settings.runs, settings.sockets), *ports,
                *look_at_rates(settings.runs, settings.sockets, links, demand)]
    for row in findings:
        table.add_row(row.what, Text(row.state, style=_STYLE[row.state]), row.found, row.remedy)
    console = paper()
    console.print(table, highlight=False)
    refused = sum(row.state == "refuse" for row in findings)
    warned = sum(row.state == "warn" for row in findings)
    console.print("fit for a scan" if not refused + warned else f"{warned} warnings, {refused} refusals",
                  highlight=False)
    raise typer.Exit(1 if refused else 0)


def _show_listeners(console: Console) -> int:
    """List what listens; 1 when something is open to those whom it is not for."""
    from camlink.runtime.doctor.listeners import find_listeners

    found = find_listeners()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("process", "what", "listens at", "reached from", "protected by"):
        table.add_column(title, overflow="fold")
    for listener in found:
        guard = Text("nothing: it is open", style=_STYLE["refuse"]) if listener.open else listener.protection or "-"
        table.add_row(str(listener.pid), Text(listener.role), listener.where, listener.reach, guard)
    console.print(table, highlight=False)
    wide = sum(listener.open for listener in found)
    console.print(f"{len(found)} listeners, {wide} open", highlight=False)
    return 1 if wide else 0


def _asked(file: Path, values: list[str] | None) -> tuple[Any, dict[str, float], list[Any]]:
    """Links of the workflow, bytes a second that its twin asks of them, and findings about ports that are fixed."""
    from camlink.beamline.twin.parameters import TwinParameters
    from camlink.capture.fastccd.geometry import PRESETS
    from camlink.runtime.layout import lay_out
    from camlink.workflow.check import check

    checked = check(read_flow(file, values)).must_run()
    links = tuple(lay_out(checked, Path(), Path(), {}).links.values())
    demand: dict[str, float] = {}
    for parameters in checked.parameters.values():
        if isinstance(parameters, TwinParameters):
            rows, columns = PRESETS[parameters.detector].shape
            demand = {link.name: rows * columns * 2.0 * parameters.rate_hz for link in links
                      if link.block == "RawFrames" and link.policy in ("block", "spill")}
    ports = [_port(name, port) for name, record in checked.parameters.items()
             if isinstance(port := getattr(record, "port", 0), int) and port]
    return links, demand, ports


def _port(name: str, port: int) -> Any:
    """Whether a fixed UDP port is free."""
    import socket

    from camlink.runtime.doctor.finding import Finding

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("", port))
        except OSError as error:
            return Finding(f"port of {name}", "refuse", f"UDP {port}: {error.strerror}",
                           "end whoever holds it, or say `port: auto`")
    return Finding(f"port of {name}", "ok", f"UDP {port} is free")
