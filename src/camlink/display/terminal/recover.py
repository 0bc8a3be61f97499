"""camlink recover FILE: make a CXI file whose writer was killed an ordinary file again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def recover(file: Annotated[Path, typer.Argument(help="The CXI file.")]) -> None:
    """Repair a CXI file whose writer was killed; every frame that was flushed is kept."""
    from camlink.carry.formats.recover import recover as repair

    found = repair(file)
    what = "repaired" if found.needed else "needed no repair"
    version = "no result" if found.version < 0 else f"result version {found.version}"
    Console().print(f"{file}: {what}; {found.frames} frames, {version}", highlight=False, markup=False, soft_wrap=True)
