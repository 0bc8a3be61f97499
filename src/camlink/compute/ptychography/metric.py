"""Metric: how far a reconstruction is from the truth, once everything that ptychography cannot know is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ROUNDS = 3
LARGEST_SHIFT = 16.0


@dataclass(frozen=True, slots=True)
class Score:
    """Error of an object.

    Relative rms `nrms`, phase rms [rad], and where the ring correlation crosses half a bit [fraction of Nyquist].
    """

    nrms: float
    phase_rms_rad: float
    half_bit: float


def score(image: Array, truth: Array, rim: int = 4) -> Score:
    """Compare two objects (H, W) complex of the same grid; give the box of the frame centres only.

    Sub-pixel shift, phase ramp and complex scale are removed, and `rim` pixels at each edge are left out.
    """
    turned = aligned(image, truth)
    inner = (slice(rim, -rim or None), slice(rim, -rim or None))
    best, true = turned[inner], np.asarray(truth, np.complex128)[inner]
    best = best * _scale(best, true)
    power = float((np.abs(true) ** 2).sum())
    nrms = float(np.sqrt((np.abs(best - true) ** 2).sum() / power)) if power > 0 else float("nan")
    phase = float(np.sqrt((np.angle(best * np.conj(true)) ** 2).mean()))
    return Score(nrms, phase, half_bit_crossing(best, true))


def aligned(image: Array, truth: Array) -> Array:
    """`image` (H, W) without its shift, phase ramp and complex scale against `truth`."""
    turned, true = np.asarray(image, np.complex128), np.asarray(truth, np.complex128)
    window = np.outer(np.hanning(true.shape[0]), np.hanning(true.shape[1]))
    y, x = (np.arange(side) for side in true.shape)
    ky, kx = (np.fft.fftfreq(side) for side in true.shape)
    for _ in range(ROUNDS):
        fy, fx = peak(np.conj(true) * turned * window)
        turned = turned * np.exp(-2j * np.pi * (fy * y[:, None] + fx * x[None, :]))
        cross = np.fft.fft2((true - true.mean()) * window) * np.conj(np.fft.fft2((turned - turned.mean()) * window))
        sy, sx = (-side * part for side, part in zip(true.shape, peak(np.fft.fftshift(cross)), strict=True))
        if max(abs(sy), abs(sx)) <= LARGEST_SHIFT:
            turned = np.fft.ifft2(np.fft.fft2(turned) * np.exp(-2j * np.pi * (ky[:, None] * sy + kx[None, :] * sx)))
    return np.asarray(turned * _scale(turned, true))


def peak(signal: Array) -> tuple[float, float]:
    """Frequency (y, x) [cycles per sample] at which the spectrum of `signal` (H, W) is largest, to 1e-3 of a bin."""
    spectrum = np.abs(np.fft.fft2(signal))
    at = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
    best = [float(np.fft.fftfreq(side)[i]) for side, i in zip(signal.shape, at, strict=True)]
    grids = [np.arange(side) for side in signal.shape]
    for width in (1.0, 0.1, 0.01):
        tries = [best[axis] + np.linspace(-1, 1, 21) * width / signal.shape[axis] for axis in (0, 1)]
        left = np.exp(-2j * np.pi * np.outer(tries[0], grids[0]))
        right = np.exp(-2j * np.pi * np.outer(grids[1], tries[1]))
        fine = np.abs(left @ signal @ right)
        i, j = np.unravel_index(int(fine.argmax()), fine.shape)
        best = [float(tries[0][i]), float(tries[1][j])]
    return best[0], best[1]


def ring_correlation(one: Array, other: Array) -> tuple[Array, Array]:
    """Fourier ring correlation of two objects and the samples in each ring, up to Nyquist: two arrays (rings,)."""
    window = np.outer(np.hanning(one.shape[0]), np.hanning(one.shape[1]))
    a, b = (np.fft.fft2((image - image.mean()) * window) for image in (one, other))
    rings = min(one.shape) // 2
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in one.shape), indexing="ij"))
    which = np.minimum((radius * 2 * rings).astype(int), rings).ravel()

    def total(values: Array) -> Array:
        return np.bincount(which, values.ravel(), rings + 1)[:rings]

    power = np.sqrt(total(np.abs(a) ** 2) * total(np.abs(b) ** 2))
    return total((a * np.conj(b)).real) / np.maximum(power, 1e-300), np.bincount(which, minlength=rings + 1)[:rings]


def half_bit_crossing(one: Array, other: Array) -> float:
    """Fraction of Nyquist where the ring correlation first falls below the half-bit threshold (1: nowhere).

    van Heel and Schatz, J. Struct. Biol. 151 (2005) 250, equation 17.
    """
    correlation, samples = ring_correlation(one, other)
    root = np.sqrt(np.maximum(samples, 1))
    threshold = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    below = np.nonzero(correlation[1:] < threshold[1:])[0]
    return float((below[0] + 1) / len(correlation)) if len(below) else 1.0


def _scale(image: Array, truth: Array) -> complex:
    power = float((np.abs(image) ** 2).sum())
    return complex((np.conj(image) * truth).sum() / power) if power > 0 else 1.0
