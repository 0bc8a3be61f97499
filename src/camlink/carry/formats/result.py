"""Reading what CxiWriter commits: the rows that count, and the newest whole version of the result."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats.recorded import MOST_EAGER_BYTES, check_size


class Version(NamedTuple):
    """One version of the result: its row of the table, image (y, x) and probe (mode, y, x) complex64."""

    row: Any
    image: NDArray[np.complex64]
    probe: NDArray[np.complex64]


def rows(file: Any, path: str, count: int | None = None) -> NDArray[Any]:
    """The first `count` rows (all) of a dataset, of bounded size."""
    dataset = file[path]
    shape = dataset.shape if count is None else (count, *dataset.shape[1:])
    check_size(shape, dataset.dtype.itemsize, MOST_EAGER_BYTES, path, str(file.filename))
    return np.asarray(dataset[:count])


def committed_rows(file: Any) -> int:
    """Frames whose rows are whole: those that the index names, from the first on."""
    index = rows(file, f"{at.DETECTOR}/index")
    unwritten = np.flatnonzero(index < 0)
    return int(unwritten[0]) if len(unwritten) else len(index)


def count_versions(file: Any) -> int:
    """Versions of the result that are whole."""
    return int(file[at.VERSIONS].shape[0])


def read_version(file: Any) -> Version | None:
    """The newest version, or None before the first.

    A living writer fills the other slot meanwhile, and comes back to this one only after one more row of the table:
    what was read is whole when `count_versions` of the file, opened again, is still the same.
    """
    count = count_versions(file)
    if count == 0:
        return None
    row = file[at.VERSIONS][count - 1]
    slot = at.SLOTS[int(row["slot"]) % 2]
    image = _slot(file, f"{slot}/object", tuple(int(n) for n in row["object_shape"]))
    probe = _slot(file, f"{slot}/probe", tuple(int(n) for n in row["probe_shape"]))
    return Version(row, image, probe)


def _slot(file: Any, path: str, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    check_size(shape, 8, MOST_EAGER_BYTES, path, "the result in the file")
    size = int(np.prod(shape, dtype=np.int64))
    flat = np.asarray(file[path][:size], dtype=np.complex64)
    return flat.reshape(shape)
