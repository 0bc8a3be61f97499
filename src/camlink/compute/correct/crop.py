"""Crop: the part of the sensor about the centre, and its reduction to fewer and larger pixels with the same counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["fourier", "bin"]


def corner(centre: tuple[float, float], size: int, shape: int, method: Method) -> tuple[int, int]:
    """First pixel (y, x) of the `size` x `size` part of the sensor that is reduced to `shape` x `shape`.

    It puts the pixel nearest to `centre` at the place of the zero frequency, output pixel shape/2: for "fourier" on
    the first pixel of that cell, for "bin" in the middle of it, or just before the middle of an even cell.
    """
    factor = size // shape
    inside = (factor - 1) // 2 if method == "bin" else 0
    y, x = (round(c) - (shape // 2) * factor - inside for c in centre)
    return y, x


def reduce(images: NDArray[np.float32], shape: int, method: Method) -> NDArray[np.float32]:
    """Frames (n, shape, shape) float32 with the same sum as images (n, size, size); size is a multiple of shape.

    "fourier" truncates the spectrum of the intensity, which is the autocorrelation of the exit wave. A beam that is
    narrower than half of the new field of view has all of its autocorrelation inside, so nothing is lost and the
    result is what a detector of `shape` points would have sampled. "bin" adds the counts of each cell: it weakens
    the autocorrelation towards its edge (to 0.64 at half the field) but keeps the pixels independent and Poisson, which
    is better for a wide beam. Masked stays masked: a frame pixel is NaN when more than half of its cell is; else the
    valid part of the cell stands for all of it.
    """
    if images.shape[1] == shape:
        return images
    return bin_sums(images, shape) if method == "bin" else band_limited(images, shape)


def bin_sums(images: NDArray[np.float32], shape: int) -> NDArray[np.float32]:
    """Sums of the cells of images (n, size, size) as (n, shape, shape) float32; a mostly masked cell is NaN."""
    from camlink.compute.correct.kernels import bin_sum

    out = np.empty((len(images), shape, shape), dtype=np.float32)
    bin_sum(images, images.shape[1] // shape, out)
    return out


def band_limited(images: NDArray[np.float32], shape: int) -> NDArray[np.float32]:
    """Images (n, size, size) with their spectrum cut to |k| < shape/2, sampled on (n, shape, shape) float32.

    The zero frequency of the spectrum is the sum, so counts are conserved exactly; NaN is bridged first (`fill`).
    """
    from scipy.fft import irfft2, rfft2

    from camlink.compute.correct.kernels import mask_cells

    whole = fill(images)
    spectrum = rfft2(whole)
    half = (shape + 1) // 2
    kept = np.zeros((len(images), shape, shape // 2 + 1), dtype=spectrum.dtype)
    kept[:, :half, :half] = spectrum[:, :half, :half]
    kept[:, shape + 1 - half:, :half] = spectrum[:, images.shape[1] + 1 - half:, :half]
    out: NDArray[np.float32] = irfft2(kept, s=(shape, shape)).astype(np.float32, copy=False)
    if whole is not images:
        mask_cells(images, images.shape[1] // shape, out)
    return out


def fill(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (n, y, x) float32 with every NaN bridged smoothly, from ever coarser means; all-NaN images become zero."""
    from camlink.compute.correct.kernels import halve, spread

    coarse = np.empty((len(images), (images.shape[1] + 1) // 2, (images.shape[2] + 1) // 2), dtype=np.float32)
    if not halve(images, coarse):
        return images
    if images.shape[1] == 1 and images.shape[2] == 1:
        return np.nan_to_num(images)
    whole = images.copy()
    spread(fill(coarse), whole)
    return whole
