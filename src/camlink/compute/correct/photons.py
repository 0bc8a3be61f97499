"""Photons: ADU become photon counts; read noise is pulled to zero, nothing is rounded down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_photons(signal: NDArray[np.float32], adu_per_photon: float, threshold: float) -> NDArray[np.float32]:
    """Photon counts of signals [ADU], any shape float32; NaN stays NaN.

    What is below `threshold` [photon] becomes zero, which takes the read noise out of dark pixels, where it would
    otherwise stand beside single photons. Counts are not floored to whole numbers: that costs half a photon a pixel.
    """
    counts = signal * np.float32(1 / adu_per_photon)
    counts[counts < np.float32(threshold)] = 0
    return counts
