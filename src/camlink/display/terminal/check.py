"""camlink check FILE: everything that is wrong with a workflow, before the beam is on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from camlink.display.terminal.options import Sites, Values, read_flow
from camlink.display.terminal.paper import paper
from camlink.runtime.reach.luggage import pack
from camlink.runtime.run import check_here
from camlink.workflow.check import table


def check(file: Annotated[Path, typer.Argument(help="The workflow, a YAML file.")], values: Values = None,
          sites: Sites = None) -> None:
    """Check a workflow: names, types, parameters, links, cycles and needs, all in one report."""
    checked = check_here(read_flow(file, values, sites)).must_run()
    grid = Table(box=None, header_style="dim")
    for title in ("name", "use", "kind", "at", "inputs", "outputs"):
        grid.add_column(title)
    for row in table(checked):
        grid.add_row(*(row[title] for title in ("name", "use", "kind", "at", "inputs", "outputs")))
    console = paper()
    console.print(grid, highlight=False)
    for site, luggage in pack(checked).items():
        size = sum(map(len, luggage.files.values()))
        console.print(f"to {site} go along: {', '.join(luggage.files)} ({size} bytes)", highlight=False)
    console.print(f"[green]{checked.workflow.name}: no problems[/], {len(checked.operators)} operators, "
                  f"{len(checked.links)} links", highlight=False)
