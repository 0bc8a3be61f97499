"""camlink explain RUN: what happened in a run, told in words from its log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def explain(run: Annotated[Path, typer.Argument(help="The folder of the run, as it was printed at its end.")]) -> None:
    """Tell what happened in a run: steps, deaths, restarts, what was lost and why, the verdict."""
    from camlink.runtime.story import tell

    console = Console()
    for line in tell(run):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
