"""Background: light on the detector that did not pass the sample, one frame shared by all.

Per pixel the counts are a line over the model, I = slope |F P O|^2 + b, with weights 1/(model + b + 1). Its slope
may not fall below SLOPE, since a model that explains the pixel leaves nothing for the background.
Marchesini et al., J. Appl. Cryst. 49 (2016) 1245, go there a step at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import namespace
from camlink.compute.ptychography.engine import Engine

Array = NDArray[Any]
SLOPE: Final = 0.98


@dataclass(frozen=True, slots=True)
class Background:
    """Fits the background (y, x) [photon] to the present model."""

    every: int = 5
    start: int = 10

    def apply(self, engine: Engine) -> None:
        """One turn."""
        space = namespace(engine.image)
        sums = space.zeros((5, *engine.geometry.frame))
        for part, model in engine.looks():
            amplitude = part.gains[:, None, None] * part.amplitude
            light, counts = model.astype(np.float64)**2, amplitude.astype(np.float64)**2
            known = part.weights[:, None, None] * (amplitude >= 0)
            weight = known / (light + 1 + (0 if engine.background is None else engine.background))
            terms: tuple[Any, ...] = (1.0, light, counts, light * light, light * counts)
            for row, term in enumerate(terms):
                sums[row] += (weight * term).sum(axis=0)
        engine.add_over_ranks(sums)
        found = intercept(*sums).astype(engine.image.real.dtype)
        if engine.background is None:
            engine.background = found
        else:
            engine.background[...] = found


def intercept(weight: Array, light: Array, counts: Array, light2: Array, product: Array) -> Array:
    """Where the line of counts over light meets no light, not below 0, from the weighted sums of both."""
    space = namespace(weight)
    under = space.maximum(weight, 1e-300)
    light, counts, light2 = light / under, counts / under, light2 / under
    spread = space.maximum(light2 - light * light, 1e-9 * light2 + 1e-300)
    slope = space.maximum((product / under - light * counts) / spread, SLOPE)
    return space.maximum(counts - slope * light, 0) * (weight > 0)  # type: ignore[no-any-return]
