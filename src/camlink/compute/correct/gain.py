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


def decode(raw: NDArray[np.uint16], gain: Gain) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level above the bias and multiplier of every sample, both raw.shape float32 [ADU].

    A sample with bit 0x2000, or with the meaningless gain code, has no value: NaN. The two are not multiplied yet,
    since dark and overscan are ADC levels too: signal = multiplier x (level - baseline - dark), csxtools src/fastccd.c.
    """
    multiplier = gain.multipliers[raw >> GAIN_SHIFT]
    level = (raw & DATA_BITS).astype(np.float32) - np.float32(gain.bias)
    level[(raw & NO_VALUE != 0) | np.isnan(multiplier)] = np.nan
    return level, multiplier


def adu(raw: NDArray[np.uint16], gain: Gain) -> NDArray[np.float32]:
    """Signal of every sample at the most sensitive gain, raw.shape float32 [ADU]; NaN for no value."""
    level, multiplier = decode(raw, gain)
    return level * multiplier


def saturated(raw: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Samples at the rail of the ADC, raw.shape bool: their signal is at least what they say."""
    found: NDArray[np.bool_] = raw & DATA_BITS == DATA_BITS
    return found
