"""Geometry: where a frame's window lies on the object grid, and where that grid lies on the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camlink.block import Scan
from camlink.errors import FormatError

MAX_OBJECT_PIXELS = 1 << 28


@dataclass(frozen=True, slots=True)
class Geometry:
    """The object grid of a scan: frame and object shape [pixel], its pixel [m], first position [m], margin [pixel].

    The window of a frame taken at `position` has its top-left corner at (position - first)/pixel + margin; increasing
    y means a higher row.
    """

    frame: tuple[int, int]
    shape: tuple[int, int]
    pixel_m: tuple[float, float]
    first_m: tuple[float, float]
    margin: int

    @classmethod
    def of(cls, scan: Scan, margin: int, pixel_m: tuple[float, float] | None = None) -> Geometry:
        """The grid that holds every window of `scan` with `margin` pixels around; `pixel_m` when not of the far field.

        Raises FormatError when the scan describes no geometry, or an object that no memory would hold.
        """
        known = (*scan.pixel_m, scan.distance_m, scan.energy_eV)
        if min(scan.shape) < 1 or not all(np.isfinite(value) and value > 0 for value in known):
            raise FormatError(f"scan '{scan.id}': frame {scan.shape}, pixel {scan.pixel_m} m, distance "
                              f"{scan.distance_m} m and energy {scan.energy_eV} eV must all be positive; "
                              "correct them at the source")
        y0, x0, y1, x1 = scan.span_m
        if not np.isfinite(scan.span_m).all() or y1 < y0 or x1 < x0:
            raise FormatError(f"scan '{scan.id}': the span of its positions {scan.span_m} m is no box "
                              "(y0, x0, y1, x1); correct it at the source")
        pixel = pixel_m or scan.object_pixel_m
        wide = [(high - low) / step for low, high, step in ((y0, y1, pixel[0]), (x0, x1, pixel[1]))]
        sides = [extent + size + 2 * margin + 1 for extent, size in zip(wide, scan.shape, strict=True)]
        if sides[0] * sides[1] > MAX_OBJECT_PIXELS:
            raise FormatError(f"scan '{scan.id}': an object of {sides[0]:.0f} x {sides[1]:.0f} pixels is larger than "
                              f"{MAX_OBJECT_PIXELS} pixels; check span_m, distance_m and pixel_m")
        return cls(scan.shape, (round(sides[0]), round(sides[1])), pixel, (y0, x0), margin)

    @property
    def origin_m(self) -> tuple[float, float]:
        """Sample position (y, x) [m] of a window whose top-left corner is object pixel [0, 0]."""
        return (self.first_m[0] - self.margin * self.pixel_m[0], self.first_m[1] - self.margin * self.pixel_m[1])

    def position_m(self, row: int, column: int) -> tuple[float, float]:
        """Sample position (y, x) [m] of a window whose top-left corner is that object pixel."""
        (y, x), (height, width) = self.origin_m, self.pixel_m
        return y + row * height, x + column * width

    def corners(self, position_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Top-left corners (n, 2) float64 [pixel] of the windows at positions (n, 2) [m]; fractions are kept."""
        return (np.asarray(position_m, np.float64) - self.first_m) / self.pixel_m + self.margin

    def inside(self, corners: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which corners (n, 2) [pixel] belong to windows that lie on the grid (n,); NaN does not."""
        limit = np.subtract(self.shape, self.frame)
        with np.errstate(invalid="ignore"):
            rounded = np.rint(corners)
            return np.asarray(((rounded >= 0) & (rounded <= limit)).all(axis=1), np.bool_)

    def halved(self) -> Geometry:
        """The grid of the same scan seen with the inner half of every frame: the object pixel doubles."""
        frame = (self.frame[0] // 2, self.frame[1] // 2)
        shape = tuple((side - size) // 2 + half + 1
                      for side, size, half in zip(self.shape, self.frame, frame, strict=True))
        return Geometry(frame, (shape[0], shape[1]), (2 * self.pixel_m[0], 2 * self.pixel_m[1]), self.first_m,
                        self.margin // 2)
