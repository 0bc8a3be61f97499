"""Centre: where the zero frequency meets the sensor, from the mean pattern of the first exposures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BRIGHT = 0.1
"""Share of the bright level below which a pixel is no part of the beam."""
HOT_PIXELS = 16
"""The brightest pixels, as many as may be hot ones; the next one sets the bright level."""


class Centre:
    """Running mean pattern of full images; `settled` once `frames` usable ones were seen."""

    def __init__(self, shape: tuple[int, int], frames: int) -> None:
        self.seen = 0
        self._frames = frames
        self._sum = np.zeros(shape, dtype=np.float64)
        self._count = np.zeros(shape, dtype=np.int32)

    @property
    def settled(self) -> bool:
        """Whether enough frames were seen."""
        return self.seen >= self._frames

    def add(self, images: NDArray[np.float32]) -> None:
        """Take images (n, y, x) float32, NaN for no value; one that lost more than half of its pixels is left out."""
        for image in images:
            valid = np.isfinite(image)
            if 2 * int(valid.sum()) >= image.size:
                self._sum[valid] += image[valid]
                self._count += valid
                self.seen += 1

    def estimate(self) -> tuple[float, float] | None:
        """Centre (y, x) [pixel] of the mean pattern, or None when there was no light to tell it from."""
        return symmetry_centre((self._sum / np.maximum(self._count, 1)).astype(np.float32))


def symmetry_centre(pattern: NDArray[np.float32]) -> tuple[float, float] | None:
    """Point (y, x) [pixel] about which the bright part of `pattern` (y, x) is most like itself turned by 180 degrees.

    The pattern is clipped at its bright level and convolved with itself: by Cauchy and Schwarz the peak lies at twice
    the centre for any pattern with that symmetry, such as the annulus of a zone plate with its stop; brightness that
    the sample shifts to one side moves a centre of mass, but hardly this peak. None when nothing is bright.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    bright = _bright(pattern)
    if bright is None:
        return None
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    cut = bright[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    shape = [next_fast_len(2 * n, real=True) for n in cut.shape]
    alike = irfft2(rfft2(cut, shape) ** 2, shape)
    y, x = np.unravel_index(int(alike.argmax()), alike.shape)
    return (float(rows[0] + _vertex(alike[:, x], int(y)) / 2), float(columns[0] + _vertex(alike[y], int(x)) / 2))


def _bright(pattern: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The pattern as parts of its bright level, clipped to 1, zero where it is not bright."""
    place = max(pattern.size - 1 - HOT_PIXELS, pattern.size // 2)
    level = float(np.partition(pattern, place, axis=None)[place])
    if not level > 0:
        return None
    part = np.minimum(pattern / np.float32(level), np.float32(1))
    return np.where(part >= BRIGHT, part, np.float32(0))


def _vertex(line: NDArray[np.float32], peak: int) -> float:
    """Vertex of the parabola through the peak of a periodic line and its neighbours."""
    before, at, after = (float(line[(peak + k) % len(line)]) for k in (-1, 0, 1))
    bend = before - 2 * at + after
    return peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)
