"""Image: one plane of an array made ready for a screen: cropped, reduced, scaled and quantised to bytes.

Byte 0 of a picture says "no value", 1..255 run from the low to the high end of its domain.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

Part = Literal["value", "amplitude", "phase", "complex"]
Scale = Literal["linear", "log", "sqrt"]
Region = tuple[int, int, int, int]
Plane = NDArray[Any]

LARGEST_VIEW_PX: Final = 2048
SAMPLED: Final = 65_536
PERCENTILES: Final = (0.5, 99.7)
DECADES: Final = 5.0
HEADER: Final = struct.Struct("<IIIIdII")

Side = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VIEW_PX)]


class Lens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a viewer looks at an array: which part, scale, domain, region (y0, x0, y1, x1) and size of the view [px].

    A missing `low` or `high` follows the data; a missing region is the whole array.
    """

    part: Part = "value"
    scale: Scale = "linear"
    low: float | None = None
    high: float | None = None
    region: Region | None = None
    height: Side = 512
    width: Side = 512


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: `pixels` uint8 (y, x), or (2, y, x) as amplitude and phase; one byte covers `step` array pixels."""

    pixels: NDArray[np.uint8]
    low: float
    high: float
    region: Region
    step: int
    part: Part
    scale: Scale

    @property
    def height(self) -> int:
        """Rows of the picture [px]."""
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        """Columns of the picture [px]."""
        return int(self.pixels.shape[-1])


def picture(plane: Plane, lens: Lens, valid: Plane | None = None) -> Picture:
    """The picture of `plane` (y, x), real or complex, through `lens`; pixels outside of `valid` are without value."""
    region = clip(lens.region, plane.shape)
    y0, x0, y1, x1 = region
    cut = plane[y0:y1, x0:x1]
    if valid is not None:
        cut = np.where(valid[y0:y1, x0:x1], cut, np.nan)
    step = max(1, math.ceil((y1 - y0) / lens.height), math.ceil((x1 - x0) / lens.width))
    part = part_of(plane, lens.part)
    values = _values(cut, "amplitude" if part == "complex" else part, step)
    low, high = domain(_sample(plane, part, valid), lens, from_zero=part == "complex")
    pixels = quantise(values, low, high, lens.scale)
    if part == "complex":
        pixels = np.stack([pixels, quantise(_values(cut, "phase", step), -math.pi, math.pi)])
    return Picture(pixels, low, high, region, step, part, lens.scale)


def part_of(plane: Plane, wanted: Part) -> Part:
    """The part that can be shown: a real array has its value only, a complex one never shows "value"."""
    if not np.iscomplexobj(plane):
        return "value"
    return "amplitude" if wanted == "value" else wanted


def clip(region: Region | None, shape: tuple[int, ...]) -> Region:
    """`region` inside an array of `shape` (y, x), at least one pixel large; the whole array for None."""
    height, width = shape
    if region is None:
        return 0, 0, height, width
    y0, x0 = min(max(region[0], 0), height - 1), min(max(region[1], 0), width - 1)
    return y0, x0, min(max(region[2], y0 + 1), height), min(max(region[3], x0 + 1), width)


def area_mean(plane: Plane, step: int) -> Plane:
    """Means over squares of `step` pixels, without the pixels that are not finite; NaN where a square has none.

    Squares at the far edges may be cut; `plane` (y, x) real or complex gives (ceil(y / step), ceil(x / step)).
    """
    if step == 1:
        return plane
    valid = np.isfinite(plane)
    rows, columns = np.arange(0, plane.shape[0], step), np.arange(0, plane.shape[1], step)

    def sums(values: Plane) -> Plane:
        partial = np.add.reduceat(values, rows, axis=0)
        return np.asarray(np.add.reduceat(partial, columns, axis=1))

    if valid.all():
        heights, widths = np.diff(rows, append=plane.shape[0]), np.diff(columns, append=plane.shape[1])
        return np.asarray(sums(plane) / np.outer(heights, widths).astype(np.float32))
    total = sums(np.where(valid, plane, 0))
    number = sums(valid.astype(np.float32))
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))


def _values(cut: Plane, part: Part, step: int) -> Plane:
    if part == "phase":  # the mean of a wrapped angle has no meaning, the angle of the mean has
        mean = area_mean(cut, step)
        return np.where(np.isfinite(mean), np.angle(mean), np.nan)
    if part == "amplitude":
        return area_mean(np.abs(cut), step)
    return area_mean(cut.astype(np.float32) if cut.dtype.kind in "biu" else cut, step)


def _sample(plane: Plane, part: Part, valid: Plane | None) -> Plane:
    """Some values of the whole array, so that the colours stay while a person zooms and pans."""
    stride = max(1, math.ceil(math.sqrt(plane.size / SAMPLED)))
    thinned = plane[::stride, ::stride]
    if valid is not None:
        thinned = thinned[valid[::stride, ::stride]]
    if part == "value":
        return thinned
    return np.angle(thinned[np.isfinite(thinned)]) if part == "phase" else np.abs(thinned)


def domain(values: Plane, lens: Lens, *, from_zero: bool = False) -> tuple[float, float]:
    """Low and high end of the colour scale: what the lens says, else percentiles of the finite values."""
    sample = values[np.isfinite(values)].astype(float)
    if lens.scale == "log":
        sample = sample[sample > 0]
    low, high = (float(v) for v in np.percentile(sample, PERCENTILES)) if sample.size else (0.0, 1.0)
    if lens.scale == "log":
        low = max(low, high * 10.0**-DECADES)
    low = lens.low if lens.low is not None else 0.0 if from_zero and lens.scale != "log" else low
    high = lens.high if lens.high is not None else high
    if lens.scale == "log" and low <= 0:
        low = abs(high) * 10.0**-DECADES or 1.0
    return _widened(low, high, lens.scale)


def _widened(low: float, high: float, scale: Scale) -> tuple[float, float]:
    """A domain of some width about one value: a constant image gets the middle of the colour map."""
    if high > low:
        return low, high
    if scale == "log":
        return low / 2, low * 2
    pad = max(abs(low) * 1e-3, 1e-12)
    return low - pad, low + pad


def quantise(values: Plane, low: float, high: float, scale: Scale = "linear") -> NDArray[np.uint8]:
    """Bytes 1..255 for `values` (y, x) within low..high, clamped at both ends; 0 where they are not finite."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if scale == "log":
            part = np.log(np.maximum(values, low) / low) / math.log(high / low)
        else:
            part = (values - low) / (high - low)
        part = np.clip(part, 0, 1)
        if scale == "sqrt":
            part = np.sqrt(part)
        levels = 1 + np.rint(part * 254)
    return np.where(np.isfinite(values), levels, 0).astype(np.uint8)


def encode(image: Picture, *, sequence: int, time_ms: float, domain_id: int = 0, panel: int = 0) -> bytes:
    """The picture on the wire: a 32-byte little-endian header, then the bytes of its planes.

    Header: sequence u32, height u32, width u32, flags u32 (bits 0-7 planes less one, 8-15 index of the scale,
    16-31 domain id), time [ms, UNIX] f64, panel u32, 4 spare bytes.
    """
    flags = (image.pixels.ndim - 2) | get_args(Scale).index(image.scale) << 8 | (domain_id & 0xFFFF) << 16
    head = HEADER.pack(sequence & 0xFFFFFFFF, image.height, image.width, flags, time_ms, panel, 0)
    return b"".join((head, np.ascontiguousarray(image.pixels).data))
