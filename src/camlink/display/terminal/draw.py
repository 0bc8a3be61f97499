"""camlink draw FILE: the graph of a workflow, complete or not, as text or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camlink.display.terminal.options import Sites, read_flow
from camlink.errors import StorageError
from camlink.workflow.check import check
from camlink.workflow.draw import draw_svg, draw_text


def draw(file: Annotated[Path, typer.Argument(help="The workflow, a YAML file.")],
         svg: Annotated[Path | None, typer.Option(help="Write an SVG to this file.")] = None,
         sites: Sites = None) -> None:
    """Draw the graph of a workflow, also of one that cannot run yet."""
    checked = check(read_flow(file, sites=sites))
    typer.echo(draw_text(checked))
    for problem in checked.problems:
        typer.secho(f"! {problem}", fg="yellow", err=True)
    if svg is not None:
        try:
            svg.write_text(draw_svg(checked), encoding="utf8")
        except OSError as error:
            raise StorageError(f"cannot write {svg}: {error.strerror}; choose another place") from None
