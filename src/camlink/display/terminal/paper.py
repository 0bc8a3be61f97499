"""Paper: what commands write on; a terminal has its width, a pipe or a file takes lines of any length."""

from __future__ import annotations

from typing import Final

from rich.console import Console

UNBOUND: Final = 4000


def paper() -> Console:
    """The standard output; where it is no terminal nothing is folded or cut, so that others can search it."""
    console = Console()
    return console if console.is_terminal else Console(width=UNBOUND)
