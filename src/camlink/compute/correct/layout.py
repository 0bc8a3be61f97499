"""Layout of an assembled FastCCD image: which columns hold light and which hold overscan, in either half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camlink.errors import FormatError, ParameterError

SAMPLES = 12
"""Samples of one ADC in a row; together they are one super-column."""

LARGEST = 8192
"""Rows or columns beyond which a shape is taken for damage, not for a detector."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows and columns of a raw image, and the overscan positions in each super-column of its top half.

    The bottom half is the other sensor half turned by 180 degrees, so position p is found at 11 - p there.
    Without overscan positions every column is data.
    """

    rows: int
    width: int
    overscan: tuple[int, ...] = (0, 11)

    def __post_init__(self) -> None:
        """Raise FormatError for a shape that no camera sends, ParameterError for impossible overscan positions."""
        if not (2 <= self.rows <= LARGEST and 1 <= self.width <= LARGEST) or self.rows % 2:
            raise FormatError(f"a raw image of {self.rows} x {self.width} samples is not two sensor halves of at most "
                              f"{LARGEST} samples a side; check the geometry of the source")
        unique = set(self.overscan)
        if len(unique) != len(self.overscan) or len(unique) >= SAMPLES or not unique <= set(range(SAMPLES)):
            raise ParameterError(f"overscan positions {self.overscan} must be different numbers of 0..{SAMPLES - 1} "
                                 "that leave at least one data column")
        if self.overscan and self.width % SAMPLES:
            raise FormatError(f"a raw image {self.width} samples wide is not made of super-columns of {SAMPLES}; "
                              "set `overscan` to [] for images without overscan columns")

    @property
    def supers(self) -> int:
        """Super-columns across the image; 1 when there is no overscan."""
        return self.width // SAMPLES if self.overscan else 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (y, x) of the image without overscan columns."""
        return self.rows, self.width - self.supers * len(self.overscan)

    @property
    def overscan_columns(self) -> NDArray[np.int64]:
        """Raw columns of the overscan samples (half, super-column, sample) int64; half 0 is the top."""
        top = np.array(sorted(self.overscan), dtype=np.int64)
        first = np.arange(self.supers, dtype=np.int64)[:, None] * SAMPLES
        return np.stack([first + positions for positions in (top, np.sort(SAMPLES - 1 - top))])

    @property
    def data_columns(self) -> NDArray[np.int64]:
        """Raw column of every data column (half, x) int64."""
        every = np.arange(self.width, dtype=np.int64)
        return np.stack([np.setdiff1d(every, half) for half in self.overscan_columns])

    @property
    def owners(self) -> NDArray[np.int64]:
        """Super-column of every data column (half, x) int64."""
        return np.minimum(self.data_columns // SAMPLES, self.supers - 1)
