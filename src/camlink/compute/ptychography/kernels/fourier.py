"""Fourier passes for the compiled kernel: butterflies of radix 4 and 2 over lanes of 16 columns that stay in the cache.

See `plan` for the layout. Spans are constants where the passes are called, which lets the compiler prove that the four
legs never overlap and use full vector registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from camlink.compute.ptychography.kernels.plan import LANES, padded

U = np.uintp
rows = njit(cache=True, nogil=True, forceinline=True)(padded)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def forward4(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
    """One decimation-in-frequency pass of radix 4 over the panel that begins at `base`."""
    h = U(span * LANES)
    plane = U(rows(size) * LANES)
    stride = size // (4 * span)
    for block in range(0, turn.shape[1], 4 * span):
        for j in range(span):
            c1, s1 = turn[0, j * stride], turn[1, j * stride]
            c2, s2 = turn[0, 2 * j * stride], turn[1, 2 * j * stride]
            c3, s3 = turn[0, 3 * j * stride], turn[1, 3 * j * stride]
            row = U(base) + U((block + j) * LANES)
            for x in range(U(LANES)):
                i = row + x
                k = i + plane
                ar, ai, br, bi = w[i], w[k], w[i + h], w[k + h]
                cr, ci, dr, di = w[i + h + h], w[k + h + h], w[i + h + h + h], w[k + h + h + h]
                er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
                gr, gi, hr, hi = br + dr, bi + di, bi - di, dr - br
                w[i], w[k] = er + gr, ei + gi
                ur, ui, vr, vi = fr + hr, fi + hi, er - gr, ei - gi
                yr, yi = fr - hr, fi - hi
                w[i + h], w[k + h] = ur * c1 - ui * s1, ur * s1 + ui * c1
                w[i + h + h], w[k + h + h] = vr * c2 - vi * s2, vr * s2 + vi * c2
                w[i + h + h + h], w[k + h + h + h] = yr * c3 - yi * s3, yr * s3 + yi * c3


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def inverse4(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
    """The mirror of `forward4`: a decimation-in-time pass with conjugate twiddles; together they multiply by 4."""
    h = U(span * LANES)
    plane = U(rows(size) * LANES)
    stride = size // (4 * span)
    for block in range(0, turn.shape[1], 4 * span):
        for j in range(span):
            c1, s1 = turn[0, j * stride], turn[1, j * stride]
            c2, s2 = turn[0, 2 * j * stride], turn[1, 2 * j * stride]
            c3, s3 = turn[0, 3 * j * stride], turn[1, 3 * j * stride]
            row = U(base) + U((block + j) * LANES)
            for x in range(U(LANES)):
                i = row + x
                k = i + plane
                ar, ai = w[i], w[k]
                pr, pi, qr, qi = w[i + h], w[k + h], w[i + h + h], w[k + h + h]
                tr, ti = w[i + h + h + h], w[k + h + h + h]
                br, bi = pr * c1 + pi * s1, pi * c1 - pr * s1
                cr, ci = qr * c2 + qi * s2, qi * c2 - qr * s2
                dr, di = tr * c3 + ti * s3, ti * c3 - tr * s3
                er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
                gr, gi, hr, hi = br + dr, bi + di, di - bi, br - dr
                w[i], w[k] = er + gr, ei + gi
                w[i + h], w[k + h] = fr + hr, fi + hi
                w[i + h + h], w[k + h + h] = er - gr, ei - gi
                w[i + h + h + h], w[k + h + h + h] = fr - hr, fi - hi


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def forward2(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
    """The first pass where the power of two is odd: radix 2 over the two halves of the rows."""
    h = U(span * LANES)
    plane = U(rows(size) * LANES)
    for j in range(span):
        c, s = turn[0, j], turn[1, j]
        row = U(base) + U(j * LANES)
        for x in range(U(LANES)):
            i = row + x
            k = i + plane
            ar, ai, br, bi = w[i], w[k], w[i + h], w[k + h]
            ur, ui = ar - br, ai - bi
            w[i], w[k] = ar + br, ai + bi
            w[i + h], w[k + h] = ur * c - ui * s, ur * s + ui * c


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def inverse2(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
    """The mirror of `forward2`, the last pass of the inverse; together they multiply by 2."""
    h = U(span * LANES)
    plane = U(rows(size) * LANES)
    for j in range(span):
        c, s = turn[0, j], turn[1, j]
        row = U(base) + U(j * LANES)
        for x in range(U(LANES)):
            i = row + x
            k = i + plane
            ar, ai, pr, pi = w[i], w[k], w[i + h], w[k + h]
            br, bi = pr * c + pi * s, pi * c - pr * s
            w[i], w[k] = ar + br, ai + bi
            w[i + h], w[k + h] = ar - br, ai - bi
