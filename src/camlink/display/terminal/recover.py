"""camlink recover PATH: finish a run whose master was killed, or put a CXI file in order whose writer was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def recover(path: Annotated[Path, typer.Argument(help="The folder of a run, or a CXI file.")]) -> None:
    """Finish a run whose master was killed from what it had on disk; or repair a CXI file whose writer was killed."""
    console = Console()
    if path.is_dir():
        from camlink.runtime.finish import finish

        for line in finish(path):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    from camlink.carry.formats.recover import recover as repair

    found = repair(path)
    what = "repaired" if found.needed else "needed no repair"
    version = "no result" if found.version < 0 else f"result version {found.version}"
    console.print(f"{path}: {what}; {found.frames} frames, {version}", highlight=False, markup=False, soft_wrap=True)
