"""Numba kernels of the correction: one pass from raw samples to photons.

The tests compare them to the same steps in NumPy.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from camlink.compute.correct.gain import DATA_BITS, GAIN_SHIFT, NO_VALUE

Array = NDArray[Any]
FEW_ROWS = 5
"""Rows below which a straight line would follow the noise: the mean is taken."""
SPIKE = 6.0
"""A sample this many mean deviations off the median of its neighbours is not believed."""


@njit(cache=True, nogil=True)
def _gather(raw: Array, columns: Array, first: int, bias: int, value: Array, weight: Array) -> None:
    for y in range(value.shape[0]):
        for s in range(columns.shape[0]):
            total = np.int64(0)
            count = 0
            for k in range(columns.shape[1]):
                sample = np.int64(raw[first + y, columns[s, k]])
                if sample & NO_VALUE == 0 and sample >> GAIN_SHIFT == 0:
                    total += (sample & DATA_BITS) - bias
                    count += 1
            weight[y, s] = count
            value[y, s] = total / count if count else 0.0


@njit(cache=True, nogil=True)
def _median_near(value: Array, weight: Array, y: int, s: int, near: Array) -> float:
    """Median of the up to five valid values around row y."""
    count = 0
    for k in range(max(y - 2, 0), min(y + 3, value.shape[0])):
        if weight[k, s] > 0:
            place = count
            while place > 0 and near[place - 1] > value[k, s]:
                near[place] = near[place - 1]
                place -= 1
            near[place] = value[k, s]
            count += 1
    return (near[(count - 1) // 2] + near[count // 2]) / 2 if count else 0.0


@njit(cache=True, nogil=True)
def _off_whole_rows(value: Array, y: int, off: Array) -> None:
    """Distance of row y from the median of five rows that are all there: no branches, so that it vectorises."""
    for s in range(value.shape[1]):
        a, b, c, d, e = value[y - 2, s], value[y - 1, s], value[y, s], value[y + 1, s], value[y + 2, s]
        low, high = max(min(a, b), min(d, e)), min(max(a, b), max(d, e))
        off[y, s] = abs(c - max(min(low, high), min(max(low, high), c)))


@njit(cache=True, nogil=True)
def _off_broken_rows(value: Array, weight: Array, y: int, near: Array, off: Array) -> None:
    for s in range(value.shape[1]):
        off[y, s] = abs(value[y, s] - _median_near(value, weight, y, s, near)) if weight[y, s] > 0 else 0.0


@njit(cache=True, nogil=True)
def _drop_spikes(value: Array, weight: Array, off: Array) -> None:
    rows, supers = value.shape
    near = np.empty(5)
    mean = np.zeros(supers)
    seen = np.zeros(supers)
    whole = np.empty(rows, dtype=np.bool_)
    for y in range(rows):
        whole[y] = True
        for s in range(supers):
            whole[y] &= weight[y, s] > 0
            seen[s] += weight[y, s] > 0
    for y in range(rows):
        if 2 <= y < rows - 2 and whole[y - 2] and whole[y - 1] and whole[y] and whole[y + 1] and whole[y + 2]:
            _off_whole_rows(value, y, off)
        else:
            _off_broken_rows(value, weight, y, near, off)
        for s in range(supers):
            mean[s] += off[y, s]
    for y in range(rows):
        for s in range(supers):
            if off[y, s] > SPIKE * mean[s] / max(seen[s], 1.0) + 1:
                weight[y, s] = 0.0


@njit(cache=True, nogil=True)
def _add_row(sums: Array, value: Array, weight: Array, y: int, sign: float) -> None:
    """Add (or take away) row y to the running sums (6, s): w, wt, wtt, wv, wtv and rows."""
    t = y - value.shape[0] / 2
    for s in range(value.shape[1]):
        w = sign * weight[y, s]
        sums[0, s] += w
        sums[1, s] += w * t
        sums[2, s] += w * t * t
        sums[3, s] += w * value[y, s]
        sums[4, s] += w * t * value[y, s]
        if weight[y, s] > 0:
            sums[5, s] += sign


@njit(cache=True, nogil=True)
def _straight(value: Array, weight: Array, half_rows: int, out: Array) -> None:
    rows, supers = value.shape
    sums = np.zeros((6, supers))
    for y in range(rows):
        _add_row(sums, value, weight, y, 1.0)
    mean = np.empty(supers)
    for s in range(supers):
        mean[s] = sums[3, s] / sums[0, s] if sums[0, s] > 0 else np.nan
        for k in range(6):
            sums[k, s] = 0.0
    for y in range(min(half_rows, rows)):
        _add_row(sums, value, weight, y, 1.0)
    for y in range(rows):
        if y + half_rows < rows:
            _add_row(sums, value, weight, y + half_rows, 1.0)
        if y - half_rows - 1 >= 0:
            _add_row(sums, value, weight, y - half_rows - 1, -1.0)
        for s in range(supers):
            s0 = sums[0, s]
            if s0 <= 0:
                out[y, s] = mean[s]
                continue
            mean_t, mean_v = sums[1, s] / s0, sums[3, s] / s0
            slope = 0.0
            if sums[5, s] >= FEW_ROWS:
                slope = (sums[4, s] / s0 - mean_t * mean_v) / max(sums[2, s] / s0 - mean_t * mean_t, 1e-9)
            out[y, s] = mean_v + slope * (y - rows / 2 - mean_t)


def baseline(raw: Array, columns: Array, half_rows: int, bias: int, out: Array) -> None:
    """Level of no light of one raw image (y, x) uint16 into out (y, s) float32 for the super-columns in `columns`.

    Samples taken after the pixels of a row give the level of their ADC. Those of a row are averaged, spikes are left
    out, and a straight line is fitted through the `half_rows` rows on each side; so a drifting level is followed to the
    edge of each half, where plain smoothing would lag. Samples without value or at another gain take no part; a window
    without any takes the mean of its super-column, and a super-column without any has none (NaN).

    Not compiled itself: that would compile its three steps twice, and a scan waits for it.
    """
    rows = raw.shape[0] // 2
    value = np.empty((rows, columns.shape[1]))
    weight = np.empty((rows, columns.shape[1]))
    off = np.empty((rows, columns.shape[1]))
    for half in range(2):
        _gather(raw, columns[half], half * rows, bias, value, weight)
        _drop_spikes(value, weight, off)
        _straight(value, weight, half_rows, out[half * rows:(half + 1) * rows])


@njit(cache=True, nogil=True)
def correct(raw: Array, base: Array, source: Array, owner: Array, dark: Array, multipliers: Array, limits: Array,
            top: int, left: int, out: Array) -> int:
    """One raw image (y, x) uint16 to the window of `out` (h, w) float32 whose first pixel is (top, left); NaN outside.

    Dark and overscan are ADC levels too: signal = multiplier x (level - baseline - dark), csxtools src/fastccd.c.
    `limits` is (bias, rail, saturation [ADU], ADU per unit of `out`, threshold in that unit); a sample at the rail or
    above the saturation has no value. What is below the threshold becomes zero, which takes the read noise out of dark
    pixels; counts are not floored to whole numbers: that costs half a photon a pixel. Returns how many samples had the
    meaningless gain code.
    """
    bias, rail, saturation = np.float32(limits[0]), np.int64(limits[1]), np.float32(limits[2])
    scale, threshold = np.float32(1 / limits[3]), np.float32(limits[4])
    gap = np.float32(np.nan)
    rows, width = dark.shape
    unknown = 0
    for i in range(out.shape[0]):
        y = top + i
        half = 0 if y < rows // 2 else 1
        for j in range(out.shape[1]):
            x = left + j
            out[i, j] = gap
            if y < 0 or y >= rows or x < 0 or x >= width:
                continue
            sample = np.int64(raw[y, source[half, x]])
            data = sample & DATA_BITS
            if sample & NO_VALUE != 0 or data >= rail:
                continue
            multiplier = multipliers[sample >> GAIN_SHIFT]
            if multiplier != multiplier:
                unknown += 1
                continue
            signal = (np.float32(data) - bias - base[y, owner[half, x]] - dark[y, x]) * multiplier
            if signal <= saturation:
                signal *= scale
                out[i, j] = signal if signal >= threshold else np.float32(0)
    return unknown


@njit(cache=True, nogil=True)
def accumulate(images: Array, count: Array, mean: Array, spread: Array) -> None:
    """Welford's running mean and sum of squared deviations (y, x) over images (n, y, x); NaN takes no part."""
    for f in range(images.shape[0]):
        for y in range(images.shape[1]):
            for x in range(images.shape[2]):
                v = images[f, y, x]
                if v == v:
                    count[y, x] += 1
                    step = v - mean[y, x]
                    mean[y, x] += step / count[y, x]
                    spread[y, x] += step * (v - mean[y, x])


@njit(cache=True, nogil=True)
def bin_sum(images: Array, factor: int, out: Array) -> None:
    """Sums of factor x factor cells of (n, y, x) into out; a cell with less than half of its pixels is NaN."""
    cell = factor * factor
    for f in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                total, valid = 0.0, 0
                for i in range(factor):
                    for j in range(factor):
                        v = images[f, y * factor + i, x * factor + j]
                        if v == v:
                            total += v
                            valid += 1
                out[f, y, x] = total * cell / valid if 2 * valid >= cell else np.nan


@njit(cache=True, nogil=True)
def halve(images: Array, out: Array) -> int:
    """Means of the valid pixels of 2 x 2 cells of (n, y, x) into out; returns how many input pixels are NaN."""
    gaps = 0
    for f in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                total, valid = 0.0, 0
                for i in range(2 * y, min(2 * y + 2, images.shape[1])):
                    for j in range(2 * x, min(2 * x + 2, images.shape[2])):
                        v = images[f, i, j]
                        if v == v:
                            total += v
                            valid += 1
                        else:
                            gaps += 1
                out[f, y, x] = total / valid if valid else np.nan
    return gaps


@njit(cache=True, nogil=True)
def spread(coarse: Array, images: Array) -> None:
    """Put the value of its 2 x 2 cell in `coarse` into every NaN of images (n, y, x), in place."""
    for f in range(images.shape[0]):
        for y in range(images.shape[1]):
            for x in range(images.shape[2]):
                if images[f, y, x] != images[f, y, x]:
                    images[f, y, x] = coarse[f, y // 2, x // 2]


@njit(cache=True, nogil=True)
def mask_cells(images: Array, factor: int, out: Array) -> None:
    """NaN into out (n, y, x) where more than half of the cell about its sampling point is NaN in images; periodic."""
    n, rows, columns = images.shape
    for f in range(n):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                masked = 0
                for i in range(y * factor - factor // 2, y * factor - factor // 2 + factor):
                    for j in range(x * factor - factor // 2, x * factor - factor // 2 + factor):
                        v = images[f, i if i >= 0 else i + rows, j if j >= 0 else j + columns]
                        if v != v:
                            masked += 1
                if 2 * masked > factor * factor:
                    out[f, y, x] = np.nan
