"""Shift: fractions of a pixel as rows of a table of moved probes, its adjoint, and waves that follow their frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import fourier, namespace

Array = NDArray[Any]


class Places(NamedTuple):
    """Where frames lie: corners (n, 2) float64 [pixel] as told, whole (n, 2) int64, rows (n,) int64 of the table."""

    corners: Array
    whole: Array
    rows: Array


class Shifts:
    """The fractions k/steps, -1/2 <= k/steps < 1/2, of a pixel in y and x: steps^2 rows, row 0 is no shift at all.

    A window at `whole` seen through the probe moved by the fraction, P(r - f) O(r + whole), is the frame at whole + f
    moved by f. Moving is a ramp over the Fourier transform of the window, so that it is unitary.
    """

    def __init__(self, steps: int, frame: tuple[int, int], like: Array) -> None:
        """`like` is any complex array of the precision and the memory to work in."""
        self.steps = steps
        fractions = np.arange(steps) / steps
        fractions[fractions >= 0.5] -= 1.0
        self._fractions = fractions
        self._like = like
        self._frequency = [np.fft.fftfreq(size) for size in frame]
        self._ramps = [self._taken(np.exp(-2j * np.pi * fractions[:, None] * k[None])) for k in self._frequency]

    def places(self, corners: Array, most: tuple[int, int]) -> Places:
        """The nearest fractions to corners (n, 2) [pixel]; no window begins beyond `most` (y, x)."""
        exact = np.asarray(corners, np.float64)
        half = self.steps // 2
        fine = np.rint(exact * self.steps).astype(np.int64)
        whole = np.clip((fine + half) // self.steps, 0, most)
        row = np.clip(fine - whole * self.steps, -half, max(half - 1, 0)) % self.steps
        return Places(exact, whole, row[:, 0] * self.steps + row[:, 1])

    def fractions(self, rows: Array) -> Array:
        """Fractions (n, 2) [pixel] of rows (n,) of the table."""
        return np.stack([self._fractions[rows // self.steps], self._fractions[rows % self.steps]], axis=-1)

    def table(self, probe: Array) -> Array:
        """The probe (mode, y, x) moved by every fraction: (steps^2, mode, y, x)."""
        fft, (down, along) = fourier(probe), self._ramps
        spectrum = fft.fft2(probe)
        moved = fft.ifft(spectrum * down[:, None, :, None], axis=-2)
        moved = fft.ifft(moved[:, None] * along[None, :, None, None, :], axis=-1).reshape(-1, *probe.shape)
        moved[0] = probe
        return moved  # type: ignore[no-any-return]

    def adjoint(self, sums: Array) -> Array:
        """Adjoint of `table`: sums (steps^2, mode, y, x) moved back and added (mode, y, x)."""
        fft, (down, along) = fourier(sums), self._ramps
        spectra = fft.fft(sums.reshape(self.steps, self.steps, *sums.shape[1:]), axis=-1)
        rows = (spectra * along.conj()[None, :, None, None, :]).sum(axis=1)
        spectrum = (fft.fft(rows, axis=-2) * down.conj()[:, None, :, None]).sum(axis=0)
        return fft.ifft2(spectrum)  # type: ignore[no-any-return]

    def moved(self, waves: Array, by: Array) -> Array:
        """Waves (n, mode, y, x) moved by (n, 2) [pixel], any fraction."""
        fft, space = fourier(waves), namespace(waves)
        by = space.asarray(by)
        down, along = (space.exp(-2j * np.pi * by[:, axis, None] * space.asarray(self._frequency[axis]))
                       .astype(waves.dtype) for axis in (0, 1))
        spectra = fft.fft2(waves)
        spectra *= down[:, None, :, None]
        spectra *= along[:, None, None, :]
        return fft.ifft2(spectra)  # type: ignore[no-any-return]

    def _taken(self, ramp: Array) -> Array:
        return namespace(self._like).asarray(ramp.astype(self._like.dtype))  # type: ignore[no-any-return]
