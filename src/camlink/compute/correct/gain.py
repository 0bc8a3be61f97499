"""Gain: the two top bits of a sample say by how much its 13 data bits are to be multiplied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DATA_BITS = 0x1FFF
NO_VALUE = 0x2000
BIAS = 0x1000
GAIN_SHIFT = 14


@dataclass(frozen=True, slots=True)
class Gain:
    """Which code is the middle gain, and the ADC level of no light.

    Cameras agree on 0xC000 = multiply by 8 and 0 = multiply by 1; the middle one, by 4, is 0x4000 in cin.h and
    NDPluginFastCCD.h and 0x8000 in csxtools (src/fastccd.h), so it is configuration.
    """

    middle_code: int = 0x4000
    bias: int = BIAS

    @property
    def multipliers(self) -> NDArray[np.float32]:
        """Multiplier of each code, looked up by `raw >> 14` (4,) float32; NaN for the code that has no meaning."""
        table = np.array([1, np.nan, np.nan, 8], dtype=np.float32)
        table[self.middle_code >> GAIN_SHIFT] = 4
        return table
