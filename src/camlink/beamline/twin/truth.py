"""Truth, what the twin knows and a reconstruction has to find; kept beside the data as truth.h5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from camlink.errors import FormatError, StorageError

LARGEST_ITEMS: Final = 2**28
SENT: Final = "sent"
_ARRAYS: Final = {"object": (2, "c"), "probe": (2, "c"), "positions_m": (2, "f"), "bad_pixels": (2, "i")}


@dataclass(frozen=True)
class Truth:
    """The sample, the beam and the places, in the pixels of the reduced frames.

    object (y, x) complex64 transmission; probe (n, n) complex64 [sqrt(photon)], beam axis at [n/2, n/2]; positions_m
    (points, 2) float64 as (y, x). Frame of point j, unitary FFT: |F(probe x object[r:r+n, c:c+n])|^2 with
    (r, c) = (positions_m[j] - origin_m) / object_pixel_m. So `origin_m` (y, x) is the position whose window starts at
    object pixel [0, 0]. bad_pixels (n, 2) int64 (row, column) of the raw image; sent: counts of the sender.
    """

    scan_id: str
    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    positions_m: NDArray[np.float64]
    object_pixel_m: float
    origin_m: tuple[float, float]
    bad_pixels: NDArray[np.int64]
    sent: Mapping[str, int] = field(default_factory=dict)


def write_truth(path: Path, truth: Truth) -> None:
    """Write `truth` to an HDF5 file; raises StorageError."""
    try:
        with h5py.File(path, "w") as file:
            for name in _ARRAYS:
                file[name] = getattr(truth, name)
            file.attrs["scan_id"] = truth.scan_id
            file.attrs["object_pixel_m"] = truth.object_pixel_m
            file.attrs["origin_m"] = truth.origin_m
            file.create_group(SENT).attrs.update(truth.sent)
    except OSError as error:
        raise StorageError(f"cannot write the truth to '{path}': {error}; check the folder and its space") from None


def add_sent(path: Path, sent: Mapping[str, int]) -> None:
    """Put the sender's counts into a truth file that is there; raises StorageError."""
    try:
        with h5py.File(path, "r+") as file:
            file[SENT].attrs.update(sent)
    except OSError as error:
        raise StorageError(f"cannot add the sender's counts to '{path}': {error}") from None


def read_truth(path: Path) -> Truth:
    """Read a truth file; raises FormatError when it is missing, no HDF5 or lacks a part."""
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: _array(file, name, path) for name in _ARRAYS}
            origin = np.asarray(file.attrs["origin_m"], float)
            if origin.shape != (2,):
                raise FormatError(f"'{path}': origin_m has shape {origin.shape}, expected (y, x)")
            return Truth(scan_id=str(file.attrs["scan_id"]), object_pixel_m=float(file.attrs["object_pixel_m"]),
                         origin_m=(float(origin[0]), float(origin[1])),
                         sent={name: int(count) for name, count in file[SENT].attrs.items()}, **arrays)
    except OSError as error:
        raise FormatError(f"cannot read the truth '{path}': {error}; give a truth.h5 that the twin wrote") from None
    except KeyError as error:
        raise FormatError(f"'{path}' is no truth file: {error.args[0]}; give a truth.h5 that the twin wrote") from None


def _array(file: Any, name: str, path: Path) -> NDArray[Any]:
    item = file[name]
    axes, kind = _ARRAYS[name]
    if not isinstance(item, h5py.Dataset) or item.ndim != axes or item.dtype.kind != kind or item.size > LARGEST_ITEMS:
        raise FormatError(f"'{path}': '{name}' is not an array of {axes} axes and kind '{kind}' with at most "
                          f"{LARGEST_ITEMS} values")
    return np.asarray(item[()])
