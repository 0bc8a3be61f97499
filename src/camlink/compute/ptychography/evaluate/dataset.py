"""DataSet: the frames of one scan in memory with what is known about them; every contestant gets the same one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.block import ELECTRONVOLT_J, PLANCK_TIMES_C_J_M, CountFrames, FrameKind, Header, Scan
from camlink.carry.formats.recorded import Recorded, playable, span_m
from camlink.compute.ptychography.model import MASKED
from camlink.errors import FormatError

Array = NDArray[Any]
MOST_BYTES: Final = 8 << 30
FEWEST_FRAMES: Final = 2
ENERGY_EV: Final = 800.0
DETECTOR_PIXEL_M: Final = 30e-6
OBJECT_PIXEL_M: Final = 1e-8
"""A set that counts in pixels: energy and pixels are chosen, the distance follows from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A scan to compare on.

    counts (n, y, x) float32 [photon], zero frequency in the centre, NaN without value; position_m (n, 2) as (y, x);
    probe (mode, y, x) complex64 to start with, or None. truth (H, W) complex64 or None; `truth_corner` is the pixel of
    the truth at which the window of the first position of `scan.span_m` starts. `in_metres`: lengths are real ones.
    """

    name: str
    scan: Scan
    counts: Array
    position_m: Array
    probe: Array | None = None
    truth: Array | None = None
    truth_corner: tuple[int, int] = (0, 0)
    in_metres: bool = True

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def frame(self) -> tuple[int, int]:
        """Shape of a frame (y, x)."""
        return int(self.counts.shape[1]), int(self.counts.shape[2])

    @property
    def extent(self) -> tuple[int, int]:
        """The box of all positions (y, x) [object pixel]."""
        y0, x0, y1, x1 = self.scan.span_m
        pixel = self.scan.object_pixel_m
        return round((y1 - y0) / pixel[0]), round((x1 - x0) / pixel[1])

    def corners(self, margin: int) -> Array:
        """Top-left corners (n, 2) float64 [pixel] of all windows, with `margin` pixels before the first position."""
        return np.asarray((self.position_m - self.scan.span_m[:2]) / self.scan.object_pixel_m + margin)

    def amplitude(self, rows: slice) -> Array:
        """Amplitudes (n, y, x) float32 of some frames, zero frequency at [0, 0], MASKED where there is no value."""
        counts = self.counts[rows]
        with np.errstate(invalid="ignore"):
            found = np.where(np.isfinite(counts), np.sqrt(np.maximum(counts, 0)), np.float32(MASKED))
        return np.fft.ifftshift(found, axes=(1, 2)).astype(np.float32)

    def block(self) -> CountFrames:
        """The whole scan as one block, the start probe with it."""
        rows = np.arange(len(self), dtype=np.int64)
        arrays: dict[str, Array] = {
            "frames": self.counts, "index": rows, "point": rows,
            "kind": np.full(len(self), FrameKind.EXPOSURE, np.uint8), "dwell_s": np.zeros(len(self)),
            "position_m": self.position_m, "time_s": np.zeros(len(self))}
        if self.probe is not None:
            arrays["probe"] = self.probe
        return CountFrames.checked(Header(scan=self.scan, made_s=0.0), arrays)

    def halves(self) -> tuple[DataSet, DataSet]:
        """Two data sets of half the frames each, drawn by lot, on the same grid; raises FormatError below 4 frames."""
        if len(self) < 2 * FEWEST_FRAMES:
            raise FormatError(f"'{self.name}' has {len(self)} frames, too few to be split in two halves")
        order = np.random.default_rng(0).permutation(len(self))
        middle = len(self) // 2
        return self._only(np.sort(order[:middle]), "first half"), self._only(np.sort(order[middle:]), "second half")

    def first(self, count: int) -> DataSet:
        """The first `count` frames on the same grid."""
        return self._only(np.arange(count), f"first {count} frames")

    def _only(self, rows: Array, what: str) -> DataSet:
        scan = msgspec.structs.replace(self.scan, expected=len(rows), points=len(rows))
        return replace(self, name=f"{self.name}, {what}", scan=scan, counts=self.counts[rows],
                       position_m=self.position_m[rows])


def from_recorded(recorded: Recorded, *, in_metres: bool = True) -> DataSet:
    """The exposures of a recorded scan; pixels that its mask marks bad become NaN.

    Raises FormatError when it holds no frames or positions, lacks a fact of the geometry, or is too large.
    """
    stack, position_m = playable(recorded)
    lit = np.flatnonzero((recorded.kind == FrameKind.EXPOSURE) & np.isfinite(position_m).all(axis=1))
    check_room(len(lit), stack.shape[1:], str(recorded.path))
    counts = np.empty((len(lit), *stack.shape[1:]), np.float32)
    for place, row in enumerate(lit):
        counts[place] = stack.read(int(row), int(row) + 1)[0]
    bad = recorded.bad()
    if bad is not None:
        counts[:, bad] = np.nan
    position = position_m[lit]
    scan = msgspec.structs.replace(recorded.scan, expected=len(lit), points=len(lit), span_m=span_m(position))
    return DataSet(name=recorded.path.name, scan=scan, counts=counts, position_m=position, probe=recorded.probe,
                   in_metres=in_metres)


def in_pixels(name: str, counts: Array, corners: Array, probe: Array | None, truth: Array | None,
              truth_corner: tuple[int, int]) -> DataSet:
    """A set whose windows have their top-left `corners` (n, 2) in pixels of the object; see DataSet for the others."""
    (y0, x0), (y1, x1) = ((OBJECT_PIXEL_M * end).tolist() for end in (corners.min(axis=0), corners.max(axis=0)))
    count, ny, nx = counts.shape
    scan = Scan(id=Path(name).stem, expected=count, points=count, shape=(ny, nx), energy_eV=ENERGY_EV,
                pixel_m=(DETECTOR_PIXEL_M, DETECTOR_PIXEL_M * ny / nx), span_m=(y0, x0, y1, x1),
                distance_m=OBJECT_PIXEL_M * ny * DETECTOR_PIXEL_M * ENERGY_EV * ELECTRONVOLT_J / PLANCK_TIMES_C_J_M)
    return DataSet(name=name, scan=scan, counts=counts, position_m=corners * OBJECT_PIXEL_M, probe=probe,
                   truth=None if truth is None else truth.astype(np.complex64), truth_corner=truth_corner,
                   in_metres=False)


def check_room(count: int, frame: tuple[int, ...], where: str) -> None:
    """Raise FormatError for too few frames, or more bytes than are read at once."""
    size = 4 * count * frame[0] * frame[1]
    if count < FEWEST_FRAMES:
        raise FormatError(f"{where}: has {count} exposures with a position; ptychography needs frames that overlap")
    if size > MOST_BYTES:
        raise FormatError(f"{where}: {count} frames of {frame[0]} x {frame[1]} would take {size} bytes, more than the "
                          f"{MOST_BYTES} that are compared at once; take a smaller scan")
