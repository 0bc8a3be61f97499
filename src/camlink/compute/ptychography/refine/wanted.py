"""Wanted: the refinements and object steps that the parameters ask for."""

from __future__ import annotations

from camlink.compute.ptychography.denoise import TotalVariation
from camlink.compute.ptychography.engine import ObjectStep, Refinement
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.refine.background import Background
from camlink.compute.ptychography.refine.edges import Edges
from camlink.compute.ptychography.refine.gains import Gains
from camlink.compute.ptychography.refine.limits import Limits
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


def object_steps(parameters: SolveParameters) -> list[ObjectStep]:
    """What follows every update of the object."""
    found: list[ObjectStep] = []
    if parameters.algorithm == "admm" and parameters.total_variation:
        found.append(TotalVariation(parameters.total_variation))
    if parameters.edges:
        found.append(Edges(parameters.edges))
    if _limits(parameters) != Limits():
        found.append(_limits(parameters))
    return found


def shows_itself(parameters: SolveParameters) -> bool:
    """Whether the object is more than the data say, so that it is the picture, and not what the data make of it."""
    return parameters.algorithm == "admm" or _limits(parameters) != Limits()


def _limits(parameters: SolveParameters) -> Limits:
    return Limits(parameters.object_kind, parameters.object_least, parameters.object_most)
