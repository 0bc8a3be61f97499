"""Geometry of a FastCCD read-out: which raw sample belongs to which pixel, as one table in both directions.

The raw stream is time ordered: a group holds one sample of each ADC, 12 groups make one row of both halves. Within a
group ADC n = 16(c-1-j) + 4(3 - r div 4) + (r mod 4) feeds super-column k = c r + j of c chips (c = 12 gives the
published 192-entry table). The upper half of the image shows super-columns 8c..16c-1, the lower half super-columns
0..8c-1 turned by 180 degrees.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.errors import ParameterError, UnknownName

SAMPLES_PER_COLUMN: Final = 12
MAX_ROWS: Final = 4096
MAX_CHIPS: Final = 24


class Geometry(msgspec.Struct, frozen=True):
    """Rows per half, fCRIC chips (12 in the camera), and which of the 12 samples of a super-column are overscan.

    Raises ParameterError when a number is out of bounds, so that no buffer of absurd size is ever allocated.
    """

    rows: int
    chips: int
    overscan: tuple[int, int] = (0, 11)

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= MAX_ROWS or not 1 <= self.chips <= MAX_CHIPS:
            raise ParameterError(f"detector geometry {self.rows} rows x {self.chips} chips is out of bounds; "
                                 f"use 1..{MAX_ROWS} rows per half and 1..{MAX_CHIPS} chips")
        if len(set(self.overscan)) != 2 or not all(0 <= c < SAMPLES_PER_COLUMN for c in self.overscan):
            raise ParameterError(f"overscan positions {self.overscan} are not two different numbers in 0..11")

    @property
    def adcs(self) -> int:
        """ADC channels, 16 on each chip."""
        return 16 * self.chips

    @property
    def shape(self) -> tuple[int, int]:
        """The assembled image (y, x) with its overscan columns."""
        return 2 * self.rows, SAMPLES_PER_COLUMN * 8 * self.chips

    @property
    def data_shape(self) -> tuple[int, int]:
        """The assembled image (y, x) without overscan columns."""
        return 2 * self.rows, (SAMPLES_PER_COLUMN - 2) * 8 * self.chips

    @property
    def samples(self) -> int:
        """Samples in one frame."""
        return self.shape[0] * self.shape[1]

    @property
    def bytes(self) -> int:
        """Bytes of one frame on the wire, without headers and tail mark."""
        return 2 * self.samples


PRESETS: Final = MappingProxyType({
    "window": Geometry(rows=160, chips=4),
    "cosmic": Geometry(rows=520, chips=12),
    "full": Geometry(rows=970, chips=12),
})


def preset(name: str) -> Geometry:
    """The geometry called `name`; raises UnknownName with the nearest known name."""
    if name not in PRESETS:
        raise UnknownName("detector geometry", name, PRESETS)
    return PRESETS[name]


def adc_order(chips: int) -> NDArray[np.int32]:
    """Which ADC feeds each super-column, des (16 chips,) i32 of the module docstring."""
    r, j = np.divmod(np.arange(16 * chips, dtype=np.int32), np.int32(chips))
    des: NDArray[np.int32] = 16 * (chips - 1 - j) + 4 * (3 - r // 4) + r % 4
    return des


@lru_cache(maxsize=16)
def row_table(geometry: Geometry) -> NDArray[np.int32]:
    """Gather table (half, x): pixel x of image row y takes this sample of the raw row, read-only.

    Half 0 is the upper one, whose image row y comes from raw row y; half 1 is the lower one, whose image row
    2 rows - 1 - y comes from raw row y.
    """
    sample = np.arange(SAMPLES_PER_COLUMN)[None, :] * geometry.adcs + adc_order(geometry.chips)[:, None]  # (k, c)
    bottom, top = sample.reshape(2, -1)
    table = np.ascontiguousarray(np.stack([top, bottom[::-1]]), dtype=np.int32)  # (half, x)
    table.setflags(write=False)
    return table


def data_columns(geometry: Geometry, half: Literal["top", "bottom"] = "top") -> NDArray[np.intp]:
    """Indices of the columns of the assembled image that hold pixels, not overscan.

    The lower half is turned by 180 degrees; the two halves agree when the overscan positions are symmetric, as the
    default (0, 11) is.
    """
    skipped = geometry.overscan if half == "top" else tuple(SAMPLES_PER_COLUMN - 1 - c for c in geometry.overscan)
    return np.flatnonzero(~np.isin(np.arange(geometry.shape[1]) % SAMPLES_PER_COLUMN, skipped))
