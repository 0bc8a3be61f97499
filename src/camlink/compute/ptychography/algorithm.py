"""Algorithm: the family z+ = (1-a-b) z + a P_o z + b P_a(c P_o z + (1-c) z), of which RAAR, DM and AP are members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from camlink.compute.ptychography.prox import DataTerm


@dataclass(frozen=True, slots=True)
class Blend:
    """The three numbers of one member; P_o is the overlap projector, P_a the data projector (overlap inside)."""

    a: float
    b: float
    c: float

    @property
    def afresh(self) -> Blend:
        """What it does to waves z = P_o z that agree with the model, whatever the stored ones are."""
        return Blend(1.0 - self.b, self.b, 1.0)


PROJECT: Final = DataTerm()


@dataclass(frozen=True, slots=True)
class Rule:
    """What one iteration does to the waves: a member of the family, with this data term in the place of P_a.

    With DM and a soft data term it is ADMM in its form with one wave a frame, arXiv 1808.05802.
    """

    blend: Blend
    term: DataTerm = PROJECT


def raar(beta: float) -> Blend:
    """Relaxed averaged alternating reflections, (beta/2)(R_a R_o + 1) + (1-beta) P_o.

    Luke, Inverse Problems 21 (2005) 37.
    """
    return Blend(1.0 - 2.0 * beta, beta, 2.0)


def dm() -> Blend:
    """Difference map with step 1: RAAR at beta = 1; Thibault et al., Ultramicroscopy 109 (2009) 338."""
    return Blend(-1.0, 1.0, 2.0)


def ap() -> Blend:
    """Alternating projections, P_a P_o: the polish at the end."""
    return Blend(0.0, 1.0, 1.0)
