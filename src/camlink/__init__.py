"""camlink: from a detector's stream of frames to pictures and decisions while the beam is on.

Importing it is cheap: each name below is loaded from its module at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camlink.block import Block, CountFrames, Frames, Plan, RawFrames, Result, Scan
    from camlink.display.client import connect
    from camlink.errors import CamlinkError
    from camlink.runtime.run import open_run, run
    from camlink.workflow.check import check
    from camlink.workflow.draw import draw_svg, draw_text
    from camlink.workflow.graph import Workflow
    from camlink.workflow.join import Join
    from camlink.workflow.operator import Context, operator
    from camlink.workflow.parameter import Parameters, about
    from camlink.workflow.port import Inflow, Listed
    from camlink.workflow.text import parse_workflow, read_workflow, write_workflow

__version__ = "0.1.0"

_HOMES = {
    "camlink.block": ("Block", "CountFrames", "Frames", "Plan", "RawFrames", "Result", "Scan"),
    "camlink.display.client": ("connect",),
    "camlink.errors": ("CamlinkError",),
    "camlink.runtime.run": ("open_run", "run"),
    "camlink.workflow.check": ("check",),
    "camlink.workflow.draw": ("draw_svg", "draw_text"),
    "camlink.workflow.graph": ("Workflow",),
    "camlink.workflow.join": ("Join",),
    "camlink.workflow.operator": ("Context", "operator"),
    "camlink.workflow.parameter": ("Parameters", "about"),
    "camlink.workflow.port": ("Inflow", "Listed"),
    "camlink.workflow.text": ("parse_workflow", "read_workflow", "write_workflow"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Block", "CamlinkError", "Context", "CountFrames", "Frames", "Inflow", "Join", "Listed", "Parameters",
    "Plan", "RawFrames", "Result", "Scan", "Workflow", "about", "check", "connect", "draw_svg", "draw_text",
    "open_run", "operator", "parse_workflow", "read_workflow", "run", "write_workflow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'camlink' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)
