"""Frame passes of the compiled kernel: model into panels, transposition, data term, update with the overlap sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from camlink.compute.ptychography.kernels.fourier import LANES, U


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def load(w: Any, size: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, c: Any) -> None:
    """Panels from c P O_j + (1-c) z: `wave` and `probe` (y, x), window of `image` at (top, left)."""
    keep = np.float32(1) - c
    plane = U(size * LANES)
    for y in range(U(size)):
        for panel in range(U(size // LANES)):
            i = panel * U(2) * plane + y * U(LANES)
            first = panel * U(LANES)
            p, z = probe[y, first:first + U(LANES)], wave[y, first:first + U(LANES)]
            o = image[U(top) + y, U(left) + first:U(left) + first + U(LANES)]
            for x in range(U(LANES)):
                w[i + x] = c * (p[x].real * o[x].real - p[x].imag * o[x].imag) + keep * z[x].real
                w[i + plane + x] = c * (p[x].real * o[x].imag + p[x].imag * o[x].real) + keep * z[x].imag


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def transpose(w: Any, source: Any, target: Any, size: Any) -> None:
    """Panels of columns at `source` become panels of rows at `target`, tile by tile of LANES x LANES."""
    for panel in range(size // LANES):
        for tile in range(size // LANES):
            for plane in range(2):
                a = U(source + (2 * panel + plane) * size * LANES + tile * LANES * LANES)
                b = U(target + (2 * tile + plane) * size * LANES + panel * LANES * LANES)
                for x in range(U(LANES)):
                    for y in range(U(LANES)):
                        w[b + x * U(LANES) + y] = w[a + y * U(LANES) + x]


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def impose(w: Any, source: Any, size: Any, amplitude: Any) -> None:
    """P_a in the far field: amplitude A over model magnitude, A < 0 kept, divided by the pixels of both transforms."""
    scale = np.float32(1.0 / size)
    alone = np.float32(1.0 / (size * size))
    tiny = np.float32(1e-30)
    for panel in range(size // LANES):
        for cell in range(size * LANES):
            i = U(source + panel * 2 * size * LANES + cell)
            k = i + U(size * LANES)
            a = amplitude[panel * size * LANES + cell]
            factor = a * scale / np.sqrt(w[i] * w[i] + w[k] * w[k] + tiny)
            factor = alone if a < np.float32(0) else factor
            w[i] *= factor
            w[k] *= factor


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def update(w: Any, size: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, a: Any, b: Any) -> None:
    """Z := (1-a-b) z + a P O_j + b P_a(...) in `wave` (y, x), and in the panels in place of P_a(...)."""
    keep = np.float32(1) - a - b
    plane = U(size * LANES)
    for y in range(U(size)):
        for panel in range(U(size // LANES)):
            i = panel * U(2) * plane + y * U(LANES)
            first = panel * U(LANES)
            for x in range(U(LANES)):
                p, z, o = probe[y, first + x], wave[y, first + x], image[U(top) + y, U(left) + first + x]
                w[i + x] = keep * z.real + a * (p.real * o.real - p.imag * o.imag) + b * w[i + x]
                w[i + plane + x] = keep * z.imag + a * (p.real * o.imag + p.imag * o.real) + b * w[i + plane + x]
            for x in range(U(LANES)):
                wave[y, first + x] = complex(w[i + x], w[i + plane + x])


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def gather_image(wave: Any, probe: Any, top: Any, left: Any, weight: Any, total: Any) -> None:
    """W P* z added to the window of the object's numerator `total` (H, W)."""
    for y in range(U(wave.shape[0])):
        for x in range(U(wave.shape[1])):
            p, z = probe[y, x], wave[y, x]
            total[U(top) + y, U(left) + x] += complex(weight * (p.real * z.real + p.imag * z.imag),
                                                      weight * (p.real * z.imag - p.imag * z.real))


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def gather_probe(wave: Any, image: Any, top: Any, left: Any, weight: Any, total: Any) -> None:
    """W O_j* z added to the probe's numerator `total` (y, x)."""
    for y in range(U(wave.shape[0])):
        for x in range(U(wave.shape[1])):
            o, z = image[U(top) + y, U(left) + x], wave[y, x]
            total[y, x] += complex(weight * (o.real * z.real + o.imag * z.imag),
                                   weight * (o.real * z.imag - o.imag * z.real))
