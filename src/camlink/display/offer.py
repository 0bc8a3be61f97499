"""Offer: what of a block can be looked at, found from its type and its arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from camlink.block import Array, Block, Frames, RawFrames, Result

SMALLEST_PX: Final = 4
COVERED: Final = 0.01

DATA_BITS: Final = 0x1FFF
NO_VALUE_BIT: Final = 0x2000
FACTORS: Final = np.array([1, 4, 4, 8], np.float32)
"""What a sample is worth, by its two gain bits."""
ROWS_OF_LEVEL: Final = 64
M_TO_UM: Final = 1e6


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a page has to know of a picture.

    Its name, version, parts, shape (y, x), unit, its pixel (y, x) [um] and the sample position (y, x) [um] of the
    centre of its first pixel, where they are known.
    """

    name: str
    version: int
    parts: tuple[str, ...]
    shape: tuple[int, int]
    kind: str
    unit: str = ""
    pixel_um: tuple[float, float] | None = None
    origin_um: tuple[float, float] | None = None
    made_s: float = 0.0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """One array that can be looked at, and its label; `plane` is worked out when somebody looks."""

    label: Label
    array: Array
    decode: Callable[[Array], Array]
    valid: Array | None = None

    @property
    def plane(self) -> Array:
        """The array (y, x), real or complex, with NaN where there is no value."""
        return self.decode(self.array)


def offers(block: Block) -> Iterator[Offer]:
    """Every array of `block` that can be looked at; version 0, the store counts."""
    if isinstance(block, Frames):
        yield from _frame(block)
    elif isinstance(block, Result):
        for name, array in block.arrays.items():
            if is_picture(name, array):
                yield _result(block, name, array)


def is_picture(name: str, array: Array) -> bool:
    """Whether an array of a result is a picture: numbers over two axes, or three of which the first is a stack."""
    return (array.ndim in (2, 3) and array.dtype.kind in "biufc" and not name.endswith("_m")
            and min(array.shape[-2:]) >= SMALLEST_PX and len(array) > 0)


def source_of(block: Block) -> str:
    """Name of the operator that made the block; the type of the block when nobody stamped it."""
    return block.header.source or type(block).__name__.lower()


def _frame(block: Frames) -> Iterator[Offer]:
    if not block.count or min(block.frames.shape[1:]) < 1:
        return
    last = np.array(block.frames[-1])  # one frame, so that the rest of the block can go
    label = Label(name=f"{source_of(block)}/frame", version=0, parts=("value",), shape=_size(last), kind="frame",
                  unit=block.unit, made_s=block.header.made_s)
    yield Offer(label, last, counts_of if isinstance(block, RawFrames) else _same)


def _result(block: Result, name: str, array: Array) -> Offer:
    flat = array if array.ndim == 2 else array[0] if np.iscomplexobj(array) else array[len(array) // 2]
    is_complex = np.iscomplexobj(flat)
    pixel, origin = _scale(block, name, flat)
    coverage = block.arrays.get("coverage")
    valid = None
    if is_complex and coverage is not None and name != "coverage" and coverage.shape == flat.shape:
        valid = coverage > COVERED * float(np.nanmax(coverage)) if coverage.size else None
    label = Label(
        name=f"{source_of(block)}/{name}", version=0, shape=_size(flat), unit=str(block.facts.get(f"{name}_unit", "")),
        parts=("amplitude", "phase", "complex") if is_complex else ("value",),
        kind=name, pixel_um=pixel, origin_um=origin, made_s=block.header.made_s,
        final=bool(block.facts.get("final", False)))
    return Offer(label, flat, _same, valid)


def _same(array: Array) -> Array:
    return array


def _size(plane: Array) -> tuple[int, int]:
    return int(plane.shape[0]), int(plane.shape[1])


def _numbers(block: Result, *names: str) -> tuple[float, ...] | None:
    found = [block.facts.get(name) for name in names]
    return tuple(float(v) for v in found if isinstance(v, int | float)) if None not in found else None


def _scale(block: Result, name: str, plane: Array) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Pixel and place of the first pixel (y, x) [um] from the facts of a reconstruction, or of a map over a box."""
    pixel = _numbers(block, f"{name}_pixel_y_m", f"{name}_pixel_x_m")
    if name == "probe":
        pixel = pixel or _numbers(block, "object_pixel_y_m", "object_pixel_x_m")
    elif name == "coverage":
        return _scale(block, "object", plane)
    elif pixel and (origin := _numbers(block, "origin_y_m", "origin_x_m")):
        # the facts place the corner of a frame's window; the beam meets the sample in the window's centre
        probe = block.arrays.get("probe")
        half = (probe.shape[-2] / 2, probe.shape[-1] / 2) if probe is not None else (0.0, 0.0)
        return _um(pixel), _um((origin[0] - half[0] * pixel[0], origin[1] - half[1] * pixel[1]))
    if pixel:
        return _um(pixel), None
    box = _numbers(block, "y0_m", "x0_m", "y1_m", "x1_m")
    if box is None or name == "probe":
        return None, None
    steps = max(plane.shape[0] - 1, 1), max(plane.shape[1] - 1, 1)
    pitch = ((box[2] - box[0]) / steps[0], (box[3] - box[1]) / steps[1])
    return (_um(pitch), _um(box[:2])) if min(pitch) > 0 else (None, None)


def _um(pair: tuple[float, ...]) -> tuple[float, float]:
    return pair[0] * M_TO_UM, pair[1] * M_TO_UM


def counts_of(raw: Array) -> Array:
    """Detector units float32 (y, x) of one raw uint16 frame (y, x) [ADU], for looking only.

    13 data bits less the median of some rows of their column in each half of the sensor (each column of a half has an
    amplifier level of its own), times 8 for gain code 0xC000 and 4 for 0x4000 or 0x8000; NaN where bit 0x2000 says
    that there is no value. The real correction is the work of the reduction.
    """
    data = (raw & DATA_BITS).astype(np.float32)
    valid = (raw & NO_VALUE_BIT) == 0
    half = (len(data) + 1) // 2
    for rows in (slice(0, half), slice(half, len(data))):
        part, known = data[rows], valid[rows]
        if len(part):
            step = max(1, len(part) // ROWS_OF_LEVEL)
            some, there = part[::step], known[::step]
            if not there.all():
                some = np.where(there, some, np.float32(np.median(some[there])) if there.any() else 0)
            part -= np.median(some, axis=0)
    data *= FACTORS[raw >> 14]
    data[~valid] = np.nan
    return data


def any_value(plane: Any, y: int, x: int) -> complex | float | None:
    """The value at (y, x), or None outside of the plane and where there is none."""
    if not (0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]):
        return None
    value = plane[y, x]
    if not np.isfinite(value):
        return None
    return complex(value) if np.iscomplexobj(plane) else float(value)
