"""camlink scale RUN OPERATOR N: let replicas of an operator join or leave while its run goes on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console


def scale(run: Annotated[str, typer.Argument(help="The folder of the run.")],
          operator: Annotated[str, typer.Argument(help="Which of its operators.")],
          replicas: Annotated[int, typer.Argument(help="So many are to share the work.")]) -> None:
    """Let replicas of an operator join or leave while its run goes on; nothing is lost."""
    from camlink.display.client import connect

    with connect(run) as client:
        client.scale(operator, replicas)
    Console().print(f"asked for {replicas} replicas of {operator}", highlight=False, markup=False)
