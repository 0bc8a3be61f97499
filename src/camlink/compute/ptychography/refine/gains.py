"""Gains: how bright the beam was at every frame, as the factor that brings its amplitudes to those of the model.

Least squares of gain x A - M over the pixels of a frame. What no data tell is kept at nothing: the mean, and a factor
exp(k r) over the positions, since P exp(-k r) and O exp(k r) give the very same frames times exp(k r_j).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import namespace, to_host
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.refine.fit import affine_part, over_ranks, places

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Gains:
    """Fits the gains of all frames."""

    every: int = 5
    start: int = 5

    def apply(self, engine: Engine) -> None:
        """One turn."""
        space = namespace(engine.image)
        found = [space.zeros((2, 0))]
        for part, model in engine.looks():
            if engine.background is not None:
                model = space.sqrt(model**2 + engine.background)
            seen = space.maximum(part.amplitude, 0).astype(np.float64)
            found.append(space.stack([(model * seen).sum(axis=(1, 2)), (seen * seen).sum(axis=(1, 2))]))
        fit, power = to_host(space.concatenate(found, axis=1))
        lit = (fit > 0) & (power > 0)
        gains = np.ones(len(fit))
        logs = np.log(fit[lit] / power[lit])
        gains[lit] = np.exp(logs - affine_part(places(engine)[lit], logs, power[lit], over_ranks(engine)))
        engine.slots.active.gains[...] = space.asarray(gains)
