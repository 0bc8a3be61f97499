"""Frame passes of the compiled kernel: model into panels, transposition, data term, update with the overlap sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from camlink.compute.ptychography.kernels.fourier import U, rows
from camlink.compute.ptychography.kernels.plan import LANES


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def load(w: Any, size: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, c: Any) -> None:
    """Panels from c P O_j + (1-c) z: `wave` and `probe` (y, x), window of `image` at (top, left)."""
    for y in range(U(size)):
        for panel in range(U(size // LANES)):
            _load_run(w, size, panel, U(LANES), y, wave, probe, image, top, left, c)
        if size % LANES:
            _load_run(w, size, U(size // LANES), U(size % LANES), y, wave, probe, image, top, left, c)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _load_run(w: Any, size: Any, panel: Any, lanes: Any, y: Any, wave: Any, probe: Any, image: Any, top: Any,
              left: Any, c: Any) -> None:
    """Row `y` of one panel, its first `lanes` lanes."""
    keep = np.float32(1) - c
    plane = U(rows(size) * LANES)
    i = panel * U(2) * plane + y * U(LANES)
    first = panel * U(LANES)
    p, z = probe[y, first:first + lanes], wave[y, first:first + lanes]
    o = image[U(top) + y, U(left) + first:U(left) + first + lanes]
    for x in range(lanes):
        w[i + x] = c * (p[x].real * o[x].real - p[x].imag * o[x].imag) + keep * z[x].real
        w[i + plane + x] = c * (p[x].real * o[x].imag + p[x].imag * o[x].real) + keep * z[x].imag


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def transpose(w: Any, source: Any, target: Any, size: Any) -> None:
    """Panels of columns at `source` become panels of rows at `target`, tile by tile of LANES x LANES."""
    tall = rows(size)
    for panel in range(tall // LANES):
        for tile in range(tall // LANES):
            for plane in range(2):
                a = U(source + (2 * panel + plane) * tall * LANES + tile * LANES * LANES)
                b = U(target + (2 * tile + plane) * tall * LANES + panel * LANES * LANES)
                for x in range(U(LANES)):
                    for y in range(U(LANES)):
                        w[b + x * U(LANES) + y] = w[a + y * U(LANES) + x]


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def impose(w: Any, source: Any, size: Any, amplitude: Any) -> None:
    """P_a in the far field: amplitude A over model magnitude, A < 0 kept, divided by the pixels of both transforms."""
    panel_floats = 2 * rows(size) * LANES
    cells = size * LANES
    whole = size // LANES
    rest = size % LANES
    for panel in range(whole):
        _impose_run(w, source + panel * panel_floats, size, amplitude, panel * cells, cells)
    if rest:
        for row in range(size):
            begin = source + whole * panel_floats + row * LANES
            _impose_run(w, begin, size, amplitude, whole * cells + row * rest, rest)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _impose_run(w: Any, begin: Any, size: Any, amplitude: Any, start: Any, cells: Any) -> None:
    """`cells` pixels that lie in a row in a panel and in the amplitudes."""
    scale = np.float32(1.0 / size)
    alone = np.float32(1.0 / (size * size))
    tiny = np.float32(1e-30)
    for cell in range(cells):
        i = U(begin + cell)
        k = i + U(rows(size) * LANES)
        a = amplitude[start + cell]
        factor = a * scale / np.sqrt(w[i] * w[i] + w[k] * w[k] + tiny)
        factor = alone if a < np.float32(0) else factor
        w[i] *= factor
        w[k] *= factor


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def update(w: Any, size: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, a: Any, b: Any) -> None:
    """Z := (1-a-b) z + a P O_j + b P_a(...) in `wave` (y, x), and in the panels in place of P_a(...)."""
    for y in range(U(size)):
        for panel in range(U(size // LANES)):
            _update_run(w, size, panel, U(LANES), y, wave, probe, image, top, left, a, b)
        if size % LANES:
            _update_run(w, size, U(size // LANES), U(size % LANES), y, wave, probe, image, top, left, a, b)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _update_run(w: Any, size: Any, panel: Any, lanes: Any, y: Any, wave: Any, probe: Any, image: Any, top: Any,
                left: Any, a: Any, b: Any) -> None:
    """Row `y` of one panel, its first `lanes` lanes."""
    keep = np.float32(1) - a - b
    plane = U(rows(size) * LANES)
    i = panel * U(2) * plane + y * U(LANES)
    first = panel * U(LANES)
    for x in range(lanes):
        p, z, o = probe[y, first + x], wave[y, first + x], image[U(top) + y, U(left) + first + x]
        w[i + x] = keep * z.real + a * (p.real * o.real - p.imag * o.imag) + b * w[i + x]
        w[i + plane + x] = keep * z.imag + a * (p.real * o.imag + p.imag * o.real) + b * w[i + plane + x]
    for x in range(lanes):
        wave[y, first + x] = complex(w[i + x], w[i + plane + x])


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def gather_image(wave: Any, probe: Any, image: Any, top: Any, left: Any, weight: Any, total: Any) -> None:
    """W P* (z - P O_j) added to the window of the object's sum `total` (H, W)."""
    for y in range(U(wave.shape[0])):
        for x in range(U(wave.shape[1])):
            p, z, o = probe[y, x], wave[y, x], image[U(top) + y, U(left) + x]
            real = z.real - p.real * o.real + p.imag * o.imag
            imag = z.imag - p.real * o.imag - p.imag * o.real
            total[U(top) + y, U(left) + x] += complex(weight * (p.real * real + p.imag * imag),
                                                      weight * (p.real * imag - p.imag * real))


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def gather_probe(wave: Any, probe: Any, image: Any, top: Any, left: Any, weight: Any, total: Any) -> None:
    """W O_j* (z - P O_j) added to the probe's sum `total` (y, x)."""
    for y in range(U(wave.shape[0])):
        for x in range(U(wave.shape[1])):
            p, z, o = probe[y, x], wave[y, x], image[U(top) + y, U(left) + x]
            real = z.real - p.real * o.real + p.imag * o.imag
            imag = z.imag - p.real * o.imag - p.imag * o.real
            total[y, x] += complex(weight * (o.real * real + o.imag * imag), weight * (o.real * imag - o.imag * real))
