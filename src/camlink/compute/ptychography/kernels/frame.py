"""Frame passes of the compiled kernel: model into panels, transposition, data term, update with the overlap sums.

All work on `w`, the flat float32 scratch of one core: first the panels near the sample, then the far fields of all
modes, then a run of intensities. A place in it is the index where something begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from camlink.compute.ptychography.kernels.fourier import U, rows
from camlink.compute.ptychography.kernels.plan import LANES


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def load(w: Any, size: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, c: Any) -> None:
    """Panels near the sample from c P O_j + (1-c) z: `wave` and `probe` (y, x), window of `image` at (top, left)."""
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
def impose(w: Any, far: Any, modes: Any, light: Any, size: Any, amplitude: Any, background: Any, gain: Any,
           term: Any) -> None:
    """The data term on the far fields of all modes from `far` on, divided by the pixels of both transforms.

    `amplitude` and `background` (y*x,) are arranged, no background is an empty one; the run at `light` is scratch.
    """
    panel_floats = 2 * rows(size) * LANES
    hop = 2 * rows(size) * rows(size)
    cells = size * LANES
    whole = size // LANES
    rest = size % LANES
    for panel in range(whole):
        begin = far + panel * panel_floats
        _impose_run(w, begin, hop, modes, light, size, amplitude, background, panel * cells, cells, gain, term)
    if rest:
        for row in range(size):
            begin = far + whole * panel_floats + row * LANES
            start = whole * cells + row * rest
            _impose_run(w, begin, hop, modes, light, size, amplitude, background, start, rest, gain, term)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _impose_run(w: Any, begin: Any, hop: Any, modes: Any, light: Any, size: Any, amplitude: Any, background: Any,
                start: Any, cells: Any, gain: Any, term: Any) -> None:
    """`cells` pixels that lie in a row in a panel and in the amplitudes; the planes of the modes are `hop` apart."""
    plane = U(rows(size) * LANES)
    alone = np.float32(1.0 / (size * size))
    run = U(light)
    for cell in range(U(cells)):
        w[run + cell] = np.float32(1e-30)
    for mode in range(modes):
        i = U(begin + mode * hop)
        for cell in range(U(cells)):
            w[run + cell] += alone * (w[i + cell] * w[i + cell] + w[i + plane + cell] * w[i + plane + cell])
    if background.shape[0]:
        for cell in range(U(cells)):
            w[run + cell] += background[U(start) + cell]
    if term[3] > np.float32(0):
        for cell in range(U(cells)):
            a, m = gain * amplitude[U(start) + cell], w[run + cell]
            factor = term[1] + np.sqrt((term[2] * m + term[3] * a * a) / m)
            w[run + cell] = alone * (np.float32(1) if a < np.float32(0) else factor)
    else:
        for cell in range(U(cells)):
            a = gain * amplitude[U(start) + cell]
            factor = term[1] + term[0] * a / np.sqrt(w[run + cell])
            w[run + cell] = alone * (np.float32(1) if a < np.float32(0) else factor)
    for mode in range(modes):
        i = U(begin + mode * hop)
        for cell in range(U(cells)):
            w[i + cell] *= w[run + cell]
            w[i + plane + cell] *= w[run + cell]


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def update(w: Any, size: Any, old: Any, wave: Any, probe: Any, image: Any, top: Any, left: Any, blend: Any,
           weight: Any, total: Any, probe_total: Any) -> None:
    """Z := (1-a-b) z + a P O_j + b D(...) from `old` to `wave`, and the sums of its residual z - P O_j.

    W P* times the residual is added to the window of `total` (H, W), w O_j* times it to `probe_total` (y, x), which is
    empty where nobody asks for it.
    """
    for y in range(U(size)):
        for panel in range(U(size // LANES)):
            _update_run(w, size, panel, U(LANES), y, old, wave, probe, image, top, left, blend, weight, total,
                        probe_total)
        if size % LANES:
            _update_run(w, size, U(size // LANES), U(size % LANES), y, old, wave, probe, image, top, left, blend,
                        weight, total, probe_total)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _update_run(w: Any, size: Any, panel: Any, lanes: Any, y: Any, old: Any, wave: Any, probe: Any,
                image: Any, top: Any, left: Any, blend: Any, weight: Any, total: Any, probe_total: Any) -> None:
    """Row `y` of one panel, its first `lanes` lanes; the panel is left with the residual."""
    a, b = blend[0], blend[1]
    keep, step = np.float32(1) - a - b, a - np.float32(1)
    plane = U(rows(size) * LANES)
    i = panel * U(2) * plane + y * U(LANES)
    first = panel * U(LANES)
    p, z, new = probe[y, first:first + lanes], old[y, first:first + lanes], wave[y, first:first + lanes]
    o = image[U(top) + y, U(left) + first:U(left) + first + lanes]
    t = total[U(top) + y, U(left) + first:U(left) + first + lanes]
    for x in range(lanes):
        w[i + x] = keep * z[x].real + step * (p[x].real * o[x].real - p[x].imag * o[x].imag) + b * w[i + x]
        w[i + plane + x] = (keep * z[x].imag + step * (p[x].real * o[x].imag + p[x].imag * o[x].real)
                            + b * w[i + plane + x])
    for x in range(lanes):
        real, imag = w[i + x], w[i + plane + x]
        new[x] = complex(real + p[x].real * o[x].real - p[x].imag * o[x].imag,
                         imag + p[x].real * o[x].imag + p[x].imag * o[x].real)
    for x in range(lanes):
        real, imag = w[i + x], w[i + plane + x]
        t[x] += complex(weight * (p[x].real * real + p[x].imag * imag), weight * (p[x].real * imag - p[x].imag * real))
    if probe_total.shape[0]:
        g = probe_total[y, first:first + lanes]
        for x in range(lanes):
            real, imag = w[i + x], w[i + plane + x]
            g[x] += complex(weight * (o[x].real * real + o[x].imag * imag),
                            weight * (o[x].real * imag - o[x].imag * real))
