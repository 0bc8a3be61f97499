"""Plan: how a transform of one size splits into passes, and the order in which they leave the frequencies.

A panel is 2 planes (real, imaginary) of `padded(size)` rows by LANES columns in one flat float32 array, transformed
along its rows in place. The forward transform leaves digit-reversed rows (decimation in frequency) and the inverse
takes them back, so nothing is ever reordered: amplitudes are stored in that order instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LANES = 16
SMALLEST = 16
LARGEST = 2048
ODD_RADICES = (3, 5, 7, 11, 13)


def radices(size: int) -> tuple[int, ...]:
    """Radices of the passes of a transform of `size`, first pass first; empty where `size` has another prime factor.

    At most one pass of radix 2, then the odd ones, largest first, then those of radix 4.
    """
    found: list[int] = []
    rest = size
    for radix in reversed(ODD_RADICES):
        while rest % radix == 0:
            found.append(radix)
            rest //= radix
    if rest & (rest - 1):
        return ()
    twos = rest.bit_length() - 1
    return (2,) * (twos % 2) + tuple(found) + (4,) * (twos // 2)


def fits(size: int) -> bool:
    """Whether there is a plan for `size`: 16 to 2048 with no prime factor above 13."""
    return SMALLEST <= size <= LARGEST and radices(size) != ()


def passes(size: int) -> tuple[tuple[int, int], ...]:
    """(radix, span) of the passes of the forward transform; the span is the distance of two legs in rows."""
    found = []
    span = size
    for radix in radices(size):
        span //= radix
        found.append((radix, span))
    return tuple(found)


def padded(size: int) -> int:
    """`size` rounded up to a multiple of LANES: the rows of a panel, and the lanes of all panels.

    Rows and lanes beyond `size` are zero and stay so, which leaves every tile of a transposition whole.
    """
    return -(-size // LANES) * LANES


def twiddles(size: int) -> NDArray[np.float32]:
    """exp(-2 pi i k/size) as rows cos, sin (2, size) float32."""
    turn = 2 * np.pi * np.arange(size) / size
    return np.stack([np.cos(turn), -np.sin(turn)]).astype(np.float32)


def order(size: int) -> NDArray[np.int64]:
    """Frequency that the forward transform leaves in each row (size,)."""
    rows = np.arange(size)
    frequency = np.zeros(size, np.int64)
    stride = 1
    for radix, span in passes(size):
        frequency += stride * (rows // span % radix)
        stride *= radix
    return frequency


def arrangement(size: int) -> NDArray[np.int64]:
    """Pixel (flat) of a frame, zero frequency at [0, 0], that stands at each place of an arranged frame (y*x,).

    Panels of rows after each other, LANES rows in each, the last one may have fewer.
    """
    places = np.arange(size * size).reshape(size, size)[np.ix_(order(size), order(size))]
    return np.concatenate([places[first:first + LANES].T.reshape(-1) for first in range(0, size, LANES)])
