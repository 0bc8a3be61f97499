"""Wanted: the refinements and object steps that the parameters ask for."""

from __future__ import annotations

from camlink.compute.ptychography.engine import Refinement
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.refine.background import Background
from camlink.compute.ptychography.refine.gains import Gains
from camlink.compute.ptychography.refine.modes import Modes
from camlink.compute.ptychography.refine.positions import Positions


def refinements(parameters: SolveParameters) -> list[Refinement]:
    """What has its turn between iterations."""
    found: list[Refinement] = []
    if parameters.modes > 1:
        found.append(Modes())
    if parameters.background_every:
        found.append(Background(parameters.background_every))
    if parameters.gains_every:
        found.append(Gains(parameters.gains_every))
    if parameters.positions_every:
        found.append(Positions(parameters.positions_every, reach=max(1.0, 0.75 * parameters.margin)))
    return found
