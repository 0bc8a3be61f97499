"""Picture: what is handed out of a reconstruction, without what no data tell: the global phase, and a ramp of phase."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def free_phase(image: Array, reference: Array | None, weight: Array) -> complex:
    """The unit factor that turns `image` (H, W) closest to `reference`, or its mean to real; weighted by (H, W)."""
    aim = np.conj(reference) if reference is not None else 1.0
    overlap = complex((weight * image * aim).sum(dtype=np.complex128))
    return overlap.conjugate() / abs(overlap) if abs(overlap) > 0 else 1.0 + 0.0j


def turned(image: Array, probe: Array, factor: complex) -> tuple[Array, Array]:
    """Copies of object and probe with the same exit waves, the object turned by the unit `factor`."""
    return (image * factor).astype(image.dtype), (probe * np.conj(factor)).astype(probe.dtype)


def ramp(image: Array, weight: Array) -> tuple[float, float]:
    """The mean slope of the phase of `image` (H, W) along y and x [rad/pixel], weighted by (H, W)."""
    down = (np.conj(image[:-1]) * image[1:] * weight[:-1] * weight[1:]).sum(dtype=np.complex128)
    along = (np.conj(image[:, :-1]) * image[:, 1:] * weight[:, :-1] * weight[:, 1:]).sum(dtype=np.complex128)
    return float(np.angle(down)), float(np.angle(along))


def flattened(image: Array, probe: Array, slope: tuple[float, float]) -> tuple[Array, Array]:
    """Copies of object and probe with the ramp `slope` [rad/pixel] moved from the object to the probe.

    O exp(-ikr) and P exp(ikr) give waves that differ by one phase a frame, so that every frame stays the same.
    """
    found = []
    for array, sign in ((image, -1), (probe, 1)):
        y, x = (np.arange(size) for size in array.shape[-2:])
        turn = np.exp(1j * sign * (slope[0] * y[:, None] + slope[1] * x[None, :]))
        found.append((array * turn).astype(array.dtype))
    return found[0], found[1]
