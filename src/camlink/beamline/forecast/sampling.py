"""Sampling: overlap, dose and reachable resolution of a ptychography scan in closed form."""

from __future__ import annotations

import math
from typing import Final

from camlink.errors import ParameterError

ROSE: Final = 5.0
"""A detail is seen when its signal is this many times its noise (A. Rose, J. Opt. Soc. Am. 38 (1948) 196)."""


def linear_overlap(step_m: float, beam_m: float) -> float:
    """1 - step/diameter, 0 when neighbouring beams do not touch; raises ParameterError."""
    return max(0.0, 1.0 - _positive(step_m, "step_m") / _positive(beam_m, "beam_m"))


def area_overlap(step_m: float, beam_m: float) -> float:
    """Part of a disc of diameter `beam_m` that the next disc, `step_m` away, covers too.

    (2/pi)(acos t - t sqrt(1 - t^2)) with t = step/diameter; about 0.6 is recommended by Bunk et al., Ultramicroscopy
    108 (2008) 481. Raises ParameterError.
    """
    t = _positive(step_m, "step_m") / _positive(beam_m, "beam_m")
    return 2 / math.pi * (math.acos(t) - t * math.sqrt(1 - t * t)) if t < 1 else 0.0


def fluence_per_m2(photons: float, step_m: float) -> float:
    """Photons on every square metre of the sample: those of a frame over the area that belongs to a point."""
    return _positive(photons, "photons") / _positive(step_m, "step_m") ** 2


def detail_photons(contrast_rad: float) -> float:
    """Photons that a detail of phase `contrast_rad` [rad] needs to be seen.

    n photons tell a phase to 1/(2 sqrt n) at best (Bouchet et al., Phys. Rev. Applied 15 (2021) 024047); the Rose
    criterion asks for a fifth of the contrast. So n = (5/(2 contrast))^2, the least that any method needs.
    """
    return (ROSE / (2 * _positive(contrast_rad, "contrast_rad"))) ** 2


def dose_half_period_m(fluence: float, contrast_rad: float) -> float:
    """Side [m] of the smallest square of phase `contrast_rad` on which enough photons fall; `fluence` is per m^2."""
    return math.sqrt(detail_photons(contrast_rad) / _positive(fluence, "fluence"))


def _positive(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ParameterError(f"{name} = {value!r}: must be positive and finite")
    return value
