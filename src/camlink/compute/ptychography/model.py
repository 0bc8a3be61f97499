"""Forward model and its adjoints in plain array operations: windows, exit waves, unitary far field, data projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MASKED = -1.0
"""Amplitude of a pixel without value: the data projection keeps what the model says there."""


def windows(image: Array, corners: Array, frame: tuple[int, int]) -> Array:
    """Gather: the windows (n, y, x) of `image` (H, W) whose top-left corners are (n, 2) integers."""
    every = np.lib.stride_tricks.sliding_window_view(image, frame)
    return np.asarray(every[corners[:, 0], corners[:, 1]])


def scatter(frames: Array, corners: Array, shape: tuple[int, int]) -> Array:
    """Adjoint of `windows`: the sum (H, W) of frames (n, y, x) put at their corners."""
    image = np.zeros(shape, frames.dtype)
    rows, columns = frames.shape[-2:]
    for frame, (y, x) in zip(frames, corners, strict=True):
        image[y:y + rows, x:x + columns] += frame
    return image


def exit_waves(probe: Array, image: Array, corners: Array) -> Array:
    """Exit waves P O_j (n, mode, y, x) of a probe (mode, y, x) and an object (H, W)."""
    shape = (probe.shape[-2], probe.shape[-1])
    return np.asarray(probe[None] * windows(image, corners, shape)[:, None])


def far_field(waves: Array) -> Array:
    """Unitary two-dimensional Fourier transform over the last two axes; zero frequency at [0, 0]."""
    from scipy import fft

    return np.asarray(fft.fft2(waves, norm="ortho"))


def near_sample(field: Array) -> Array:
    """Inverse (and adjoint) of `far_field`."""
    from scipy import fft

    return np.asarray(fft.ifft2(field, norm="ortho"))


def magnitude(field: Array) -> Array:
    """Square root of the intensity that all modes (n, mode, y, x) give together: (n, y, x)."""
    return np.asarray(np.sqrt((field.real**2 + field.imag**2).sum(axis=1)))


def project_data(waves: Array, amplitude: Array) -> Array:
    """P_a: waves (n, mode, y, x) made to have the measured amplitude (n, y, x); MASKED pixels are left alone."""
    field = far_field(waves)
    model = magnitude(field)
    tiny = np.finfo(model.dtype).tiny
    factor = np.where(amplitude < 0, 1, amplitude / np.maximum(model, np.sqrt(tiny)))
    return near_sample(field * factor[:, None].astype(model.dtype))


def data_misfit(model: Array, amplitude: Array) -> tuple[float, float]:
    """Sums of (|model| - A)^2 and A^2 over the pixels that have a value."""
    known = amplitude >= 0
    gap = np.where(known, model - amplitude, 0).astype(np.float64)
    seen = np.where(known, amplitude, 0).astype(np.float64)
    return float((gap**2).sum()), float((seen**2).sum())
