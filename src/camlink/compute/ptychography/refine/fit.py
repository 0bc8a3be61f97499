"""Fit: what the frames of all ranks that share a scan say together, of numbers that every rank has for its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import to_host
from camlink.compute.ptychography.engine import Engine

Array = NDArray[Any]
Add = Callable[[Array], Array]


def alone(sums: Array) -> Array:
    """The sums of one rank that has all frames."""
    return sums


def over_ranks(engine: Engine) -> Add:
    """Adds float64 arrays of the host over all ranks."""
    def add(sums: Array) -> Array:
        there = engine.kernel.space.array(sums)
        engine.add_over_ranks(there)
        return to_host(there)

    return add


def places(engine: Engine) -> Array:
    """Where the frames of this rank are (n, 2) [pixel], counted from the same point on all ranks."""
    return np.asarray(engine.slots.corners + np.divide(engine.geometry.origin_m, engine.geometry.pixel_m))


def affine_part(corners: Array, values: Array, weights: Array, add: Add = alone) -> Array:
    """The affine function of corners (n, 2) that is closest to values (n, ...), weighted least squares: (n, ...)."""
    count, *moments = add(np.concatenate([[len(corners)], corners.sum(axis=0), (corners**2).sum(axis=0)]))
    middle, square = np.array(moments[:2]) / max(count, 1), np.array(moments[2:]) / max(count, 1)
    spread = np.sqrt(np.maximum(square - middle**2, 0))
    columns = np.concatenate([np.ones((len(corners), 1)), (corners - middle) / np.where(spread > 0, spread, 1)], axis=1)
    normal = add(columns.T @ (weights[:, None] * columns))
    right = add((columns * weights[:, None]).T @ values)
    return np.asarray(columns @ np.linalg.lstsq(normal, right, rcond=1e-12)[0])
