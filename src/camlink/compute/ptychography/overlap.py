"""Overlap: the denominators of object and probe from the comb of positions, and the division that never blows up.

For integer corners sum_j w_j |P(r - r_j)|^2 is the convolution of the weighted comb with |P|^2, so no frame is touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def comb(corners: Array, weights: Array, shape: tuple[int, int]) -> Array:
    """The weights (n,) put at their corners (n, 2) on the object grid: (H, W) float64."""
    flat = np.bincount(corners[:, 0] * shape[1] + corners[:, 1], weights, shape[0] * shape[1])
    return flat.reshape(shape)


def object_weight(comb_: Array, probe_intensity: Array) -> Array:
    """sum_j w_j |P(r - r_j)|^2 on the object grid (H, W), from |P|^2 summed over modes (y, x)."""
    from scipy import fft

    shape = comb_.shape
    size = [fft.next_fast_len(side, real=True) for side in shape]
    product = fft.rfft2(comb_, size) * fft.rfft2(probe_intensity.astype(np.float64), size)
    return np.asarray(np.maximum(fft.irfft2(product, size)[:shape[0], :shape[1]], 0.0))


def probe_weight(comb_: Array, object_intensity: Array, frame: tuple[int, int]) -> Array:
    """sum_j w_j |O(r + r_j)|^2 in the probe's window (y, x), from |O|^2 on the object grid (H, W)."""
    from scipy import fft

    size = [fft.next_fast_len(side, real=True) for side in comb_.shape]
    product = np.conj(fft.rfft2(comb_, size)) * fft.rfft2(object_intensity.astype(np.float64), size)
    return np.asarray(np.maximum(fft.irfft2(product, size)[:frame[0], :frame[1]], 0.0))


def divide(total: Array, weight: Array, previous: Array, damping: float) -> Array:
    """(total + d previous)/(weight + d) with d = damping x max(weight): where nothing is known, `previous` stays."""
    floor = damping * float(weight.max(initial=0.0))
    if floor <= 0.0 and not weight.any():
        return previous
    safe = np.maximum(weight + floor, np.finfo(np.float64).tiny)
    quotient = np.where(weight + floor > 0, (total + floor * previous) / safe, previous)
    return np.asarray(quotient.astype(previous.dtype))
