"""Wanted: the refinements and object steps that the parameters ask for."""

from __future__ import annotations

from camlink.compute.ptychography.engine import Refinement
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.refine.modes import Modes


def refinements(parameters: SolveParameters) -> list[Refinement]:
    """What has its turn between iterations."""
    found: list[Refinement] = []
    if parameters.modes > 1:
        found.append(Modes())
    return found
