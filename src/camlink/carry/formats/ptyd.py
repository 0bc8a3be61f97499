"""read_ptyd: the HDF5 files that prepare data for ptypy, whole ones and live ones in parts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.block import Scan
from camlink.carry.formats.format import Format, hdf5_root
from camlink.carry.formats.hdf5 import open_hdf5, reading
from camlink.carry.formats.recorded import (
    MOST_EAGER_BYTES,
    MOST_FRAME_BYTES,
    Recorded,
    Stack,
    check_size,
    numbered,
    plain_columns,
    span_m,
)
from camlink.carry.formats.result import rows
from camlink.errors import FormatError

_KEV: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Chunks:
    """Frames that lie in several datasets (M, y, x), read as one (n, y, x)."""

    parts: tuple[Any, ...]
    starts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, y, x)."""
        return self.starts[-1], *(int(n) for n in self.parts[0].shape[1:])

    @property
    def dtype(self) -> Any:
        """Type of the first part."""
        return self.parts[0].dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, stop, _ = rows.indices(self.starts[-1])
        found = [np.asarray(part[max(0, first - start):stop - start])
                 for part, start, end in zip(self.parts, self.starts[:-1], self.starts[1:], strict=True)
                 if start < stop and end > first]
        return np.concatenate(found) if found else np.empty((0, *self.shape[1:]), np.float32)


def read_ptyd(path: Path | str) -> Recorded:
    """Open a ptyd file; positions are those of the probe (y, x) [m], the energy is in keV.

    Raises FormatError when it is missing, truncated, without chunks, or frames and positions differ in number.
    """
    path = Path(path)
    with ExitStack() as undo:
        file = undo.enter_context(open_hdf5(path))
        with reading(path, "its ptyd layout"):
            recorded = _read(path, file)
        undo.pop_all()
    return recorded


def _read(path: Path, file: Any) -> Recorded:
    names = sorted((name for name in file["chunks"] if name.isdigit()), key=int)
    notes: list[str] = []
    parts: list[Any] = []
    positions: list[NDArray[np.float64]] = []
    indices: list[NDArray[np.int64] | None] = []
    for name in names:
        chunk = file["chunks"].get(name)
        if chunk is None:
            raise FormatError(f"{path}: chunk {name} lies in another file that is not there; copy the parts beside it")
        data, at_m = chunk["data"], chunk["positions"]
        check_size(at_m.shape, 8, MOST_EAGER_BYTES, "positions", str(path))
        if len(data.shape) != 3 or at_m.shape != (data.shape[0], 2) or (parts and data.shape[1:] != parts[0].shape[1:]):
            raise FormatError(f"{path}: chunk {name} has {data.shape[0]} frames of shape {data.shape[1:]}, but "
                              f"positions of shape {at_m.shape}; each frame needs one (y, x)")
        parts.append(data)
        positions.append(np.asarray(at_m, np.float64))
        indices.append(rows(file, f"chunks/{name}/indices") if _given(chunk, "indices") else None)
    if not parts:
        raise FormatError(f"{path}: has no chunks with frames")
    check_size(parts[0].shape[1:], parts[0].dtype.itemsize, MOST_FRAME_BYTES, "one frame", str(path))
    starts = np.concatenate([[0], np.cumsum([part.shape[0] for part in parts])])
    count = int(starts[-1])
    position_m = np.concatenate(positions)
    columns = plain_columns(count)
    given = [found for found in indices if found is not None]
    if len(given) == len(parts) and sum(map(len, given)) == count:
        columns["index"] = numbered(np.concatenate(given), notes)
    scan = _scan(path, file, count, parts[0].shape[1:], position_m, notes)
    stack = Stack(Chunks(tuple(parts), tuple(int(n) for n in starts)), count, str(path))
    return Recorded(path=path, scan=scan, frames=stack, position_m=position_m, **columns, notes=tuple(notes),
                    closing=file.close)


def _scan(path: Path, file: Any, count: int, shape: tuple[int, ...], position_m: NDArray[np.float64],
          notes: list[str]) -> Scan:
    meta = file.get("meta", {})
    energy, distance, pixel, expected = (_number(meta, key) for key in ("energy", "distance", "psize", "num_frames"))
    for name, value in (("energy", energy), ("distance", distance), ("psize", pixel)):
        if value.size == 0:
            notes.append(f"{name}: not given")
    if expected.size and int(expected[0]) != count:
        notes.append(f"frames: {count} are there, the file announces {int(expected[0])}")
    return Scan(id=path.stem, expected=count, points=count, shape=(int(shape[0]), int(shape[1])),
                energy_eV=_KEV * _first(energy), distance_m=_first(distance),
                pixel_m=(_first(pixel), float(pixel[-1]) if pixel.size else float("nan")), span_m=span_m(position_m))


def _given(group: Any, key: str) -> bool:
    # a missing value is written as the text 'None'
    return key in group and group[key].dtype.kind in "iuf" and group[key].size > 0


def _number(meta: Any, key: str) -> NDArray[np.float64]:
    return np.atleast_1d(np.asarray(meta[key][()], np.float64)).ravel() if _given(meta, key) else np.empty(0)


def _first(values: NDArray[np.float64]) -> float:
    return float(values[0]) if values.size else float("nan")


PTYD: Final = Format("ptyd (.ptyd)", lambda path, head: "chunks" in hdf5_root(path, head), read_ptyd)
