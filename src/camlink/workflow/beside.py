"""Beside: operators in the folder of a workflow file are found like installed ones."""

from __future__ import annotations

import sys
from pathlib import Path


def look_beside(folder: Path) -> None:
    """Let modules of this folder be imported here and in the workers of this machine; they hide no installed one."""
    if (name := str(folder.resolve())) not in sys.path:
        sys.path.append(name)
