"""Recorded: a scan that lies in a file, whatever its layout; frames stay on disk until they are asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from camlink.block import Array, Fact, FrameKind, Scan
from camlink.carry.formats.cxi_layout import MASK_NO_DEFECT
from camlink.carry.formats.hdf5 import reading
from camlink.errors import FormatError

MOST_FRAME_BYTES: Final = 1 << 30
MOST_EAGER_BYTES: Final = 4 << 30
_PAUSE_S: Final = 0.01
_MOST_INDEX: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames (n, y, x) that are read when they are sliced, as float32 [photon]; NaN marks a pixel without value.

    `source` is an HDF5 dataset or an array of rank 2 (one frame), 3, or 4 (a raster of points, flattened row by
    row); `corner` tells that its zero frequency lies at [0, 0], from where it is moved to the centre.
    """

    source: Any
    count: int
    where: str
    corner: bool = False

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, y, x)."""
        return self.count, int(self.source.shape[-2]), int(self.source.shape[-1])

    def read(self, start: int, stop: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Frames start..stop (n, y, x) float32; in `out`, if it is given.

        Raises FormatError when the file does not give them.
        """
        start, stop = max(0, start), min(stop, self.count)
        with reading(self.where, f"frames {start} to {stop - 1}"):
            try:
                rows = self._rows(start, stop, out)
            except OSError:  # a living writer may have been in the middle of a write
                time.sleep(_PAUSE_S)
                rows = self._rows(start, stop, out)
            if self.corner:
                rows = np.fft.fftshift(rows, axes=(1, 2))
            if out is None:
                return np.asarray(rows, dtype=np.float32)
            if rows is not out:
                out[:] = rows
            return out

    def _rows(self, start: int, stop: int, out: NDArray[np.float32] | None) -> Array:
        rank = len(self.source.shape)
        if rank == 3 and out is not None and self.source.dtype == np.float32 and hasattr(self.source, "read_direct"):
            self.source.read_direct(out, np.s_[start:stop])
            return out
        if rank == 3:
            return np.asarray(self.source[start:max(start, stop)])
        if rank == 2:
            return np.asarray(self.source[()])[None][start:stop]
        inner = int(self.source.shape[1])
        picked = [self.source[divmod(row, inner)] for row in range(start, stop)]
        return np.stack(picked) if picked else np.empty((0, *self.shape[1:]), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A scan in a file; one row a frame in every column, in the order of the file. Close it, or use it in `with`.

    frames (n, y, x) float32 [photon] or None for a file that holds a result only; position_m (n, 2) float64 as
    (y, x), where the beam met the sample, or None when the file does not say; index, point i64, kind u8, dwell_s,
    time_s f64, each (n,); probe (mode, y, x) and object (y, x) complex64; mask (y, x) uint32 in CXI bits,
    0 = good. Facts of the scan that the file does not give are NaN in `scan`; `notes` says which ambiguities were
    resolved, and how. Raises FormatError when rows are missing or stand twice.
    """

    path: Path
    scan: Scan
    frames: Stack | None
    position_m: NDArray[np.float64] | None
    index: NDArray[np.int64]
    point: NDArray[np.int64]
    kind: NDArray[np.uint8]
    dwell_s: NDArray[np.float64]
    time_s: NDArray[np.float64]
    probe: NDArray[np.complex64] | None = None
    object: NDArray[np.complex64] | None = None
    mask: NDArray[np.uint32] | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    closing: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """One row a frame in every column."""
        count = len(self.index)
        shapes = {name: getattr(self, name).shape for name in ("index", "point", "kind", "dwell_s", "time_s")}
        wrong = {name: shape for name, shape in shapes.items() if shape != (count,)}
        if self.position_m is not None and self.position_m.shape != (count, 2):
            wrong["position_m"] = self.position_m.shape
        if self.frames is not None and self.frames.shape != (count, *self.scan.shape):
            wrong["frames"] = self.frames.shape
        if wrong:
            raise FormatError(f"{self.path}: {count} frames of {self.scan.shape}, but {wrong}; rows were left out, or "
                              "the file is damaged")
        if len(np.unique(self.index)) != count or not set(np.unique(self.kind).tolist()) <= set(FrameKind):
            raise FormatError(f"{self.path}: an index stands twice, or a frame is of an unknown kind; is it damaged?")

    def close(self) -> None:
        """Close the file; frames that were not read yet are out of reach then."""
        if self.closing is not None:
            self.closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def bad(self) -> NDArray[np.bool_] | None:
        """Pixels (y, x) that the mask of the file marks bad; None without a mask."""
        return None if self.mask is None else (self.mask & np.uint32(~MASK_NO_DEFECT & 0xFFFFFFFF)) != 0


def playable(recorded: Recorded) -> tuple[Stack, NDArray[np.float64]]:
    """Frames and positions (n, 2) [m] of a file that can be played or compared on.

    Raises FormatError when it has no frames or positions, or lacks a fact of the geometry.
    """
    scan, where = recorded.scan, recorded.path
    if recorded.frames is None:
        raise FormatError(f"{where}: holds a result but no frames, so there is nothing to play")
    if recorded.position_m is None:
        raise FormatError(f"{where}: {len(recorded.frames)} frames, but 0 positions; a scan needs one for each frame")
    if unknown := int((~np.isfinite(recorded.position_m)).any(axis=1).sum()):
        raise FormatError(f"{where}: {unknown} of {len(recorded.frames)} positions are no numbers; repair the file")
    facts = {"photon energy": scan.energy_eV, "detector distance": scan.distance_m, "detector pixel": min(scan.pixel_m)}
    missing = [name for name, value in facts.items() if not (math.isfinite(value) and value > 0)]
    if missing:
        raise FormatError(f"{where}: lacks {', '.join(missing)}; add it to the file")
    return recorded.frames, recorded.position_m


def plain_columns(count: int) -> dict[str, Any]:
    """Columns of a file that names no frame: numbered as they lie, all exposures, times and dwells unknown (0)."""
    rows = np.arange(count, dtype=np.int64)
    return {"index": rows, "point": rows.copy(), "kind": np.full(count, FrameKind.EXPOSURE, np.uint8),
            "dwell_s": np.zeros(count), "time_s": np.zeros(count)}


def numbered(found: Array, notes: list[str]) -> NDArray[np.int64]:
    """The index that a file gives its frames (n,); as they lie, with a note, where it is no number for each."""
    if len(np.unique(found)) == len(found) and bool((np.abs(found) < _MOST_INDEX).all()):
        return found.astype(np.int64)
    notes.append("index: not one whole number for each frame, they are numbered as they lie")
    return np.arange(len(found), dtype=np.int64)


def span_m(position_m: NDArray[np.float64] | None) -> tuple[float, float, float, float]:
    """Box (y0, x0, y1, x1) [m] around positions (n, 2); NaN when there are none."""
    if position_m is None or not np.isfinite(position_m).any():
        return (float("nan"),) * 4
    y0, x0 = np.nanmin(position_m, axis=0)
    y1, x1 = np.nanmax(position_m, axis=0)
    return float(y0), float(x0), float(y1), float(x1)


def check_size(shape: tuple[int, ...], itemsize: int, most: int, what: str, where: str) -> None:
    """Raise FormatError when an array would take more than `most` bytes, before it is read."""
    size = itemsize
    for length in shape:
        size *= int(length)
    if size > most:
        raise FormatError(f"{where}: {what} of shape {tuple(shape)} would take {size} bytes, more than the {most} that "
                          "are read at once; check that the file is what it should be")
