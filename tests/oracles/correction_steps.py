"""What the compiled correction of FastCCD samples computes, step by step in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camlink.compute.correct.dark import Field
from camlink.compute.correct.gain import DATA_BITS, GAIN_SHIFT, NO_VALUE, Gain
from camlink.compute.correct.kernels import FEW_ROWS, SPIKE
from camlink.compute.correct.layout import Layout


def decode(raw: NDArray[np.uint16], gain: Gain) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level above the bias and multiplier of every sample, both raw.shape float32 [ADU].

    A sample with bit 0x2000, or with the meaningless gain code, has no value: NaN. The two are not multiplied yet,
    since dark and overscan are ADC levels too: signal = multiplier x (level - baseline - dark), csxtools src/fastccd.c.
    """
    multiplier = gain.multipliers[raw >> GAIN_SHIFT]
    level = (raw & DATA_BITS).astype(np.float32) - np.float32(gain.bias)
    level[(raw & NO_VALUE != 0) | np.isnan(multiplier)] = np.nan
    return level, multiplier


def saturated(raw: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Samples at the rail of the ADC, raw.shape bool: their signal is at least what they say."""
    found: NDArray[np.bool_] = raw & DATA_BITS == DATA_BITS
    return found


def baseline(level: NDArray[np.float32], multiplier: NDArray[np.float32], layout: Layout,
             half_rows: int) -> NDArray[np.float32]:
    """Level of no light (n, y, super-column) float32 [ADU] of frames decoded by `gain.decode` (n, y, x).

    Overscan samples of a row are averaged, spikes are left out, and a straight line is fitted through the
    `half_rows` rows on each side; so a drifting baseline is followed to the edge of each half, where plain
    smoothing would lag. Samples without value or at another gain take no part; a window without any sample takes
    the mean of its super-column, and a super-column without any has no baseline (NaN).
    """
    n, rows = len(level), layout.rows // 2
    if not layout.overscan:
        return np.zeros((n, layout.rows, 1), dtype=np.float32)
    halves = []
    for half, columns in enumerate(layout.overscan_columns):
        rows_of = slice(half * rows, (half + 1) * rows)
        samples = level[:, rows_of][:, :, columns].astype(np.float64)  # (n, y, super-column, sample)
        used = np.isfinite(samples) & (multiplier[:, rows_of][:, :, columns] == 1)
        weight = used.sum(axis=3).astype(np.float64)
        value = np.where(used, samples, 0).sum(axis=3) / np.maximum(weight, 1)
        weight[_spikes(np.where(weight > 0, value, np.nan))] = 0
        halves.append(_straight(value, weight, half_rows))
    return np.concatenate(halves, axis=1).astype(np.float32)


def _spikes(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where (n, y, s) values leave the median of five rows by far more than is usual in their super-column."""
    edge = np.full((len(value), 2, value.shape[2]), np.nan)
    padded = np.concatenate([edge, value, edge], axis=1)
    near = np.sort(np.stack([padded[:, k:k + value.shape[1]] for k in range(5)]), axis=0)  # NaN sorts last
    count = np.isfinite(near).sum(axis=0)
    low, high = (np.take_along_axis(near, np.maximum(k, 0)[None], axis=0)[0] for k in ((count - 1) // 2, count // 2))
    off = np.nan_to_num(np.abs(value - (low + high) / 2))
    seen = np.maximum(np.isfinite(value).sum(axis=1, keepdims=True), 1)
    spikes: NDArray[np.bool_] = off > SPIKE * off.sum(axis=1, keepdims=True) / seen + 1
    return spikes


def _straight(value: NDArray[np.float64], weight: NDArray[np.float64], half_rows: int) -> NDArray[np.float64]:
    """Weighted straight-line fit around every row of (n, y, s) values, evaluated at that row."""
    rows = value.shape[1]
    t = np.arange(rows)[None, :, None] - rows / 2
    low = np.maximum(np.arange(rows) - half_rows, 0)
    high = np.minimum(np.arange(rows) + half_rows + 1, rows)

    def window(x: NDArray[np.float64]) -> NDArray[np.float64]:
        running = np.concatenate([np.zeros_like(x[:, :1]), np.cumsum(x, axis=1)], axis=1)
        total: NDArray[np.float64] = running[:, high] - running[:, low]
        return total

    s0 = window(weight)
    some = np.maximum(s0, 1)
    mean_t, mean_v = window(weight * t) / some, window(weight * value) / some
    spread = window(weight * t * t) / some - mean_t**2
    slope = (window(weight * t * value) / some - mean_t * mean_v) / np.maximum(spread, 1e-9)
    lines = window((weight > 0).astype(np.float64)) >= FEW_ROWS
    fitted = mean_v + np.where(lines, slope, 0) * (t - mean_t)
    whole = weight.sum(axis=1, keepdims=True)
    mean = np.where(whole > 0, (weight * value).sum(axis=1, keepdims=True) / np.maximum(whole, 1), np.nan)
    return np.where(s0 > 0, fitted, mean)


def subtract(level: NDArray[np.float32], base: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Levels (n, y, x) less their baseline (n, y, super-column), overscan columns dropped: (n, *layout.shape) [ADU]."""
    rows = layout.rows // 2
    halves = [level[:, part][:, :, columns] - base[:, part][:, :, owner]
              for part, columns, owner in zip((slice(0, rows), slice(rows, None)), layout.data_columns, layout.owners,
                                              strict=True)]
    return np.concatenate(halves, axis=1)


def to_photons(signal: NDArray[np.float32], adu_per_photon: float, threshold: float) -> NDArray[np.float32]:
    """Photon counts of signals [ADU], any shape float32; NaN stays NaN.

    What is below `threshold` [photon] becomes zero, which takes the read noise out of dark pixels, where it would
    otherwise stand beside single photons. Counts are not floored to whole numbers: that costs half a photon a pixel.
    """
    counts = signal * np.float32(1 / adu_per_photon)
    counts[counts < np.float32(threshold)] = 0
    return counts


def cut(images: NDArray[np.float32], first: tuple[int, int], size: int) -> NDArray[np.float32]:
    """The window (n, size, size) of images (n, y, x) whose first pixel is `first` (y, x); NaN outside the sensor."""
    out = np.full((len(images), size, size), np.nan, dtype=np.float32)
    low = [max(f, 0) for f in first]
    high = [max(min(f + size, n), at) for f, n, at in zip(first, images.shape[1:], low, strict=True)]
    target = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    out[:, target[0], target[1]] = images[:, low[0]:high[0], low[1]:high[1]]
    return out


def reference(raw: NDArray[np.uint16], layout: Layout, gain: Gain, *, half_rows: int, saturation_adu: float,
              adu_per_photon: float, threshold_photons: float, field: Field, first: tuple[int, int],
              size: int) -> NDArray[np.float32]:
    """What `Correction.photons` computes, step by step in NumPy: (n, size, size) float32 [photon]."""
    level, multiplier = decode(raw, gain)
    base = baseline(level, multiplier, layout, half_rows)
    level[saturated(raw)] = np.nan
    signal = subtract(level, base, layout) - field.level
    signal *= subtract(multiplier, np.zeros_like(base), layout)
    signal[signal > saturation_adu] = np.nan
    return cut(to_photons(signal, adu_per_photon, threshold_photons), first, size)
