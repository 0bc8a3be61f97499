"""open_dataset: a data set from a file, a recorded scan or an HDF5 set that carries its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.carry.formats.any_file import open_recorded
from camlink.carry.formats.hdf5 import check_readable, open_hdf5, reading
from camlink.carry.formats.superblock import SIGNATURE
from camlink.compute.ptychography.evaluate.dataset import DataSet, check_room, from_recorded, in_pixels
from camlink.errors import FormatError

Array = NDArray[Any]
NEEDED: Final = ("data", "pos")
LARGEST_ITEMS: Final = 1 << 28


def open_dataset(path: Path | str) -> DataSet:
    """A data set from a recorded scan (CXI, ptyd, NumPy archive) or an HDF5 set; see `read_set`.

    Raises FormatError for a file that is missing, damaged, too large, or of no known format.
    """
    path = Path(path)
    check_readable(path)
    with path.open("rb") as file:
        hdf5 = file.read(len(SIGNATURE)) == SIGNATURE
    if hdf5 and _is_set(path):
        return read_set(path)
    with open_recorded(path) as recorded:
        made_up = any(note.startswith("geometry: made up") for note in recorded.notes)
        return from_recorded(recorded, in_metres=not made_up)


def read_set(path: Path) -> DataSet:
    """An HDF5 set that counts in object pixels.

    data (n, y, x) counts with zero frequency in the centre; pos (n, 2) top-left corners as (y, x) in pixels of obj;
    obj (H, W) complex truth, probe0 or probe (y, x) or (mode, y, x) to start with: these may be missing. Raises
    FormatError.
    """
    with open_hdf5(path) as file, reading(path, "data, pos, obj and probe0"):
        data, corners = file["data"], np.asarray(_array(file, "pos", "iuf", 2, path), np.float64)
        if len(data.shape) != 3 or data.dtype.kind not in "iuf" or corners.shape != (len(data), 2):
            raise FormatError(f"{path}: data {data.dtype} {data.shape} with pos {corners.shape} are not frames "
                              "(n, y, x) with corners (n, 2)")
        if not np.isfinite(corners).all():
            raise FormatError(f"{path}: pos has values that are not finite; correct or leave out those frames")
        check_room(len(data), data.shape[1:], str(path))
        counts = data.astype(np.float32)[()]
        truth = _array(file, "obj", "c", 2, path) if "obj" in file else None
        name = next((name for name in ("probe0", "probe") if name in file), None)
        probe = _modes(file, name, counts.shape[1:], path) if name else None
    high = corners.max(axis=0)
    first = np.rint(corners.min(axis=0)).astype(int)
    if truth is not None and ((first < 0).any() or (np.rint(high) + counts.shape[1:] > truth.shape).any()):
        raise FormatError(f"{path}: windows reach from {first.tolist()} to {(high + counts.shape[1:]).tolist()}, "
                          f"but obj has {truth.shape[0]} x {truth.shape[1]} pixels")
    return in_pixels(path.name, counts, corners, probe, truth, (int(first[0]), int(first[1])))


def _is_set(path: Path) -> bool:
    with open_hdf5(path) as file, reading(path, "its root"):
        return all(name in file and hasattr(file[name], "shape") for name in NEEDED)


def _array(file: Any, name: str, kinds: str, rank: int, path: Path) -> Array:
    item = file[name]
    if len(item.shape) != rank or item.dtype.kind not in kinds or item.size > LARGEST_ITEMS:
        raise FormatError(f"{path}: '{name}' is {item.dtype} {item.shape}, expected rank {rank} of kind '{kinds}' with "
                          f"at most {LARGEST_ITEMS} values")
    return np.asarray(item[()])


def _modes(file: Any, name: str, frame: tuple[int, ...], path: Path) -> Array:
    probe = _array(file, name, "c", len(file[name].shape), path)
    if probe.ndim not in (2, 3) or probe.shape[-2:] != frame or not np.isfinite(probe).all():
        raise FormatError(f"{path}: '{name}' of shape {probe.shape} is no probe for frames of {frame}")
    return probe.reshape(-1, *frame).astype(np.complex64)
