"""Overlap: the denominators of object and probe from the comb of positions, and the division that never blows up.

For integer corners sum_j w_j |P(r - r_j)|^2 is the convolution of the weighted comb with |P|^2, so no frame is touched.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import fourier, namespace, on_device

Array = NDArray[Any]


def comb(corners: Array, weights: Array, shape: tuple[int, int]) -> Array:
    """The weights (n,) put at their corners (n, 2) on the object grid: (H, W) float64, on a GPU float32."""
    flat = namespace(corners).bincount(corners[:, 0] * shape[1] + corners[:, 1], weights, shape[0] * shape[1])
    real = np.float32 if on_device(corners) else np.float64
    return flat.reshape(shape).astype(real, copy=False)  # type: ignore[no-any-return]


def spectrum(comb_: Array) -> Array:
    """The transform of a comb, for those who convolve with it again and again."""
    return fourier(comb_).rfft2(comb_, _size(comb_))  # type: ignore[no-any-return]


def object_weight(comb_: Array, probe_intensity: Array, known: Array | None = None) -> Array:
    """sum_j w_j |P(r - r_j)|^2 on the object grid (H, W), from |P|^2 summed over modes (y, x).

    `known` is the spectrum of the comb.
    """
    fft, size, shape = fourier(comb_), _size(comb_), comb_.shape
    light = fft.rfft2(probe_intensity.astype(comb_.dtype, copy=False), size)
    product = (spectrum(comb_) if known is None else known) * light
    return np.maximum(fft.irfft2(product, size)[:shape[0], :shape[1]], 0.0)  # type: ignore[no-any-return]


def probe_weight(comb_: Array, object_intensity: Array, frame: tuple[int, int], known: Array | None = None) -> Array:
    """sum_j w_j |O(r + r_j)|^2 in the probe's window (y, x), from |O|^2 on the object grid (H, W).

    `known` is the spectrum of the comb.
    """
    fft, size = fourier(comb_), _size(comb_)
    comb_spectrum = spectrum(comb_) if known is None else known
    product = np.conj(comb_spectrum) * fft.rfft2(object_intensity.astype(comb_.dtype, copy=False), size)
    return np.maximum(fft.irfft2(product, size)[:frame[0], :frame[1]], 0.0)  # type: ignore[no-any-return]


def correlated(image: Array, weight: Array) -> Array:
    """sum_r weight(r) image(r + corner) for every corner (H, W), of real arrays (H, W) and (y, x)."""
    fft, size, shape = fourier(image), _size(image), image.shape
    product = fft.rfft2(image, size) * np.conj(fft.rfft2(weight.astype(image.dtype, copy=False), size))
    return fft.irfft2(product, size)[:shape[0], :shape[1]]  # type: ignore[no-any-return]


def moved(previous: Array, step: Array, weight: Array, damping: float, highest: Any = None) -> Array:
    """Previous + step/(weight + d) with d = damping x max(weight): where nothing is known, `previous` stays.

    `highest` is that maximum where `weight` is only a part of all.
    """
    highest = weight.max() if highest is None else highest
    if on_device(step):
        return _quotient()(step, weight, previous, highest, damping)  # type: ignore[no-any-return]
    under = weight + damping * float(highest)
    quotient = np.divide(step, under, out=np.zeros_like(step), where=under > 0)
    return np.asarray((previous + quotient).astype(previous.dtype))


def divide(total: Array, weight: Array, previous: Array, damping: float) -> Array:
    """(total + d previous)/(weight + d) with d = damping x max(weight): where nothing is known, `previous` stays."""
    return moved(previous, total - weight * previous, weight, damping)


def _size(comb_: Array) -> list[int]:
    from scipy.fft import next_fast_len

    return [next_fast_len(side, real=True) for side in comb_.shape]


@lru_cache(maxsize=1)
def _quotient() -> Any:
    """The division on a GPU in one launch and without waiting for the maximum; numbers are complex."""
    return importlib.import_module("cupy").ElementwiseKernel(
        "T step, W weight, T previous, W highest, float64 damping", "T quotient",
        """
        const double under = weight + damping * max(double(highest), 0.0);
        typedef typename T::value_type R;
        quotient = under > 0 ? previous + step / R(max(under, 1.2e-38)) : previous;
        """, "overlap_quotient")
