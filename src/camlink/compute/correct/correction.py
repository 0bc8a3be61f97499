"""Correction: raw samples to photon counts in one fused pass over only the part of the sensor that is wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camlink.compute.correct.dark import Dark, Field
from camlink.compute.correct.gain import DATA_BITS, Gain
from camlink.compute.correct.layout import SAMPLES, Layout


class Correction:
    """Corrects the raw images of one layout; `unknown` counts samples with the meaningless gain code."""

    def __init__(self, layout: Layout, gain: Gain, *, half_rows: int, saturation_adu: float, adu_per_photon: float,
                 threshold_photons: float) -> None:
        self.layout = layout
        self.unknown = 0
        self._gain = gain
        self._half_rows = half_rows
        self._photon_limits = np.array([gain.bias, DATA_BITS, saturation_adu, adu_per_photon, threshold_photons])
        self._level_limits = np.array([gain.bias, DATA_BITS + 1, np.inf, 1.0, -np.inf])
        self._multipliers = gain.multipliers
        self._source = layout.data_columns
        self._owners = layout.owners
        self._overscan = layout.overscan_columns

    def levels(self, raw: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Signal (n, *layout.shape) float32 [ADU] of raw (n, y, x) less its baseline: saturated samples as they are."""
        rows, columns = self.layout.shape
        none = np.zeros((rows, columns), dtype=np.float32)
        out = np.empty((len(raw), rows, columns), dtype=np.float32)
        self._run(raw, none, self._level_limits, (0, 0), out)
        return out

    def photons(self, raw: NDArray[np.uint16], field: Field, first: tuple[int, int],
                size: int) -> NDArray[np.float32]:
        """Photon counts (n, size, size) float32 of the window whose first data pixel is `first` (y, x).

        NaN outside the sensor and where a sample is missing, bad or saturated.
        """
        out = np.empty((len(raw), size, size), dtype=np.float32)
        self.unknown += self._run(raw, field.level, self._photon_limits, first, out)
        return out

    def _run(self, raw: NDArray[np.uint16], dark: NDArray[np.float32], limits: NDArray[np.float64],
             first: tuple[int, int], out: NDArray[np.float32]) -> int:
        from camlink.compute.correct import kernels

        used = self._used(first[1], out.shape[2])
        base = np.zeros((self.layout.rows, used.stop - used.start), dtype=np.float32)
        overscan = np.ascontiguousarray(self._overscan[:, used])
        samples = np.ascontiguousarray(raw).view()
        samples.flags.writeable = False  # one compiled kernel serves blocks from memory, ring and socket alike
        unknown = 0
        for image, window in zip(samples, out, strict=True):
            if self.layout.overscan:
                kernels.baseline(image, overscan, self._half_rows, self._gain.bias, base)
            unknown += kernels.correct(image, base, self._source, self._owners - used.start, dark, self._multipliers,
                                       limits, first[0], first[1], window)
        return unknown

    def _used(self, left: int, width: int) -> slice:
        """The super-columns under `width` data columns from `left`, in either half."""
        columns = self._owners.shape[1]
        low, high = min(max(left, 0), columns - 1), min(max(left + width, 1), columns)
        owners = self._owners[:, low:high]
        return slice(int(owners.min(initial=0)), int(owners.max(initial=0)) + 1)


def warm(layout: Layout, gain: Gain) -> None:
    """Compile the kernels, or load them, on two rows of samples, so that the first frame does not wait for it."""
    small = Layout(2, SAMPLES, layout.overscan)
    correction = Correction(small, gain, half_rows=1, saturation_adu=np.inf, adu_per_photon=1.0, threshold_photons=0.0)
    raw = np.full((3, 2, SAMPLES), gain.bias, dtype=np.uint16)
    dark = Dark(small.shape)
    dark.add(correction.levels(raw))
    correction.photons(raw, dark.field(1.0), (0, 0), 2)
