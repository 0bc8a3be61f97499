"""Picture: what is handed out of a reconstruction; the free global phase is held still, so that versions compare."""

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
