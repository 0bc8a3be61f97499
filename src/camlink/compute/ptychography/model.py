"""Forward model and its adjoints in plain array operations: windows, exit waves, unitary far field, data projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import namespace, on_device
from camlink.compute.ptychography.propagator import FAR_FIELD, Propagator
from camlink.compute.ptychography.prox import DataTerm

Array = NDArray[Any]
MASKED = -1.0
"""Amplitude of a pixel without value: the data projection keeps what the model says there."""


def windows(image: Array, corners: Array, frame: tuple[int, int]) -> Array:
    """Gather: the windows (n, y, x) of `image` (H, W) whose top-left corners are (n, 2) integers."""
    if on_device(image):
        return image[_places(corners, frame)]
    every = np.lib.stride_tricks.sliding_window_view(image, frame)
    return np.asarray(every[corners[:, 0], corners[:, 1]])


def scatter(frames: Array, corners: Array, shape: tuple[int, int]) -> Array:
    """Adjoint of `windows`: the sum (H, W) of frames (n, y, x) put at their corners."""
    image = namespace(frames).zeros(shape, frames.dtype)
    if on_device(frames):
        return _scatter_on_gpu(image, frames, _places(corners, (frames.shape[-2], frames.shape[-1])))
    rows, columns = frames.shape[-2:]
    for frame, (y, x) in zip(frames, corners, strict=True):
        image[y:y + rows, x:x + columns] += frame
    return image  # type: ignore[no-any-return]


def spread(frame: Array, weights: Array, corners: Array, shape: tuple[int, int]) -> Array:
    """The sum (H, W) of one frame (y, x) put at all corners (n, 2) with weights (n,)."""
    if on_device(frame):
        return scatter(weights[:, None, None] * frame, corners, shape)
    image = np.zeros(shape, frame.dtype)
    rows, columns = frame.shape
    for weight, (y, x) in zip(weights, corners, strict=True):
        image[y:y + rows, x:x + columns] += frame if weight == 1 else weight * frame
    return image


def exit_waves(probe: Array, image: Array, corners: Array) -> Array:
    """Exit waves P O_j (n, mode, y, x) of an object (H, W) and a probe (mode, y, x), or one a frame."""
    shape = (probe.shape[-2], probe.shape[-1])
    return (probe if probe.ndim == 4 else probe[None]) * windows(image, corners, shape)[:, None]


def far_field(waves: Array) -> Array:
    """Unitary two-dimensional Fourier transform over the last two axes; zero frequency at [0, 0]."""
    return FAR_FIELD.forward(waves)


def magnitude(field: Array, background: Array | None = None) -> Array:
    """Root of the intensity that all modes (n, mode, y, x) and the background (y, x) give together: (n, y, x)."""
    light = (field.real**2 + field.imag**2).sum(axis=1)
    return np.sqrt(light if background is None else light + background)  # type: ignore[no-any-return]


def impose(waves: Array, amplitude: Array, term: DataTerm, background: Array | None = None,
           propagator: Propagator = FAR_FIELD) -> Array:
    """Waves (n, mode, y, x) drawn towards the measured amplitude (n, y, x) at the detector; MASKED pixels stay.

    All modes are multiplied by what `term` makes of the amplitude of model and background (y, x) [photon].
    """
    field = propagator.forward(waves)
    model = magnitude(field, background)
    return propagator.adjoint(field * term.factor(model, amplitude)[:, None])


def data_misfit(model: Array, amplitude: Array) -> tuple[float, float]:
    """Sums of (|model| - A)^2 and A^2 over the pixels that have a value."""
    known = amplitude >= 0
    gap = np.where(known, model - amplitude, 0).astype(np.float64)
    seen = np.where(known, amplitude, 0).astype(np.float64)
    return float((gap**2).sum()), float((seen**2).sum())


def _places(corners: Array, frame: tuple[int, int]) -> tuple[Array, Array]:
    """Rows and columns of the pixels of the windows, to index an image with: (n, y, 1) and (n, 1, x)."""
    space = namespace(corners)
    return (corners[:, 0, None, None] + space.arange(frame[0])[:, None],
            corners[:, 1, None, None] + space.arange(frame[1]))


def _scatter_on_gpu(image: Array, frames: Array, places: tuple[Array, Array]) -> Array:
    """`frames` added to `image` at `places`; CuPy adds at places real numbers only."""
    space, real = namespace(frames), frames.real.dtype
    parts = space.ascontiguousarray(frames).view(real).reshape(*frames.shape, -1)
    space.add.at(image.view(real).reshape(*image.shape, -1), places, parts)
    return image
