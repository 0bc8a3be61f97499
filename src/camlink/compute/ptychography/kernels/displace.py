"""Displace: what the waves say of the places of their frames, in one launch on a GPU."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]
THREADS: Final = 512


def displacement_sums(part: Active, probes: Array, image: Array, slope: tuple[Array, Array]) -> Array:
    """Re sum (P slope)* (z - P O_j) of every frame for the slopes along y and x: (2, n) float32, CuPy arrays.

    Waves (n, mode, y, x), probes (shift, mode, y, x), image and slopes (H, W) are complex64.
    """
    cupy = importlib.import_module("cupy")
    count, modes, rows, columns = part.waves.shape
    sums = cupy.zeros(count, cupy.complex64)
    if count:
        _function(cupy.cuda.Device().id)((count,), (THREADS,), (
            part.waves, probes, image, *slope, part.corners, part.shifts, np.int32(modes), np.int32(rows),
            np.int32(columns), np.int32(image.shape[1]), sums))
    return cupy.stack([sums.real, sums.imag])  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _function(device: int) -> Any:
    """The compiled kernel on one device."""
    source = files(__package__).joinpath("displace.cu").read_text(encoding="utf-8")
    return importlib.import_module("cupy").RawKernel(source, "displacement_sums", ("-std=c++17",))
