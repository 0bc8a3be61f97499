"""Dark: what the sensor gives without light, for each dwell, and which pixels cannot be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANCE = 1e-7
"""Chance by which a good pixel may look dead or noisy; below one pixel in the largest sensor."""
QUANTUM_ADU = 1.0
"""Below this noise a good pixel may repeat one number, so silence proves nothing."""
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Field:
    """Dark level (y, x) float32 [ADU], NaN for a bad pixel; how many frames made it, and how many pixels are bad."""

    level: NDArray[np.float32]
    frames: int
    bad: int


class Dark:
    """Running mean and variance of the dark frames of one dwell, by Welford's update; missing samples take no part."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.frames = 0
        self._count = np.zeros(shape, dtype=np.float32)
        self._mean = np.zeros(shape, dtype=np.float32)
        self._spread = np.zeros(shape, dtype=np.float32)

    def add(self, images: NDArray[np.float32]) -> None:
        """Take in images (n, y, x) float32 [ADU], NaN for no value."""
        from camlink.compute.correct.kernels import accumulate

        accumulate(images, self._count, self._mean, self._spread)
        self.frames += len(images)

    def join(self, frames: int, count: NDArray[np.float32], mean: NDArray[np.float32],
             spread: NDArray[np.float32]) -> None:
        """Take in what another has of its own frames; Chan, Golub and LeVeque, Am. Stat. 37 (1983) 242, eq. 2.1."""
        total = np.maximum(self._count + count, 1)
        apart = mean - self._mean
        self._mean += apart * (count / total)
        self._spread += spread + apart * apart * (self._count * count / total)
        self._count += count
        self.frames += frames

    @property
    def sums(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Count, mean and sum of squared deviations (y, x) float32 of every pixel, for `join`."""
        return self._count, self._mean, self._spread

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean (y, x) float32 [ADU]; NaN where no frame had a value."""
        return np.where(self._count > 0, self._mean, np.float32(np.nan))

    @property
    def deviation(self) -> NDArray[np.float32]:
        """Standard deviation (y, x) float32 [ADU] with n - 1; NaN below two values."""
        return np.where(self._count > 1, np.sqrt(self._spread / np.maximum(self._count - 1, 1)), np.float32(np.nan))

    def field(self, bad_sigma: float) -> Field:
        """The field to subtract; a pixel that was lost in every dark frame takes the median of all."""
        mean = self.mean
        seen = np.isfinite(mean)
        middle = np.median(mean[seen]) if seen.any() else 0.0
        bad = bad_pixels(mean, self.deviation, self.frames, bad_sigma)
        level = np.where(bad, np.nan, np.where(seen, mean, middle)).astype(np.float32)
        return Field(level, self.frames, int(bad.sum()))


def bad_pixels(mean: NDArray[np.float32], deviation: NDArray[np.float32], frames: int,
               bad_sigma: float) -> NDArray[np.bool_]:
    """Pixels (y, x) bool that are hot or stuck (mean), noisy or dead (deviation) among `frames` dark frames.

    Spreads are median absolute deviations, so the bad pixels do not hide themselves. The deviation of n values
    scatters by chi-squared of n - 1 degrees; what chance explains is not called bad.
    """
    bad = _outside(mean, bad_sigma)
    if frames < 3:
        return bad
    from scipy.special import gammainccinv, gammaincinv

    half = (frames - 1) / 2
    usual = float(np.nanmedian(deviation)) if np.isfinite(deviation).any() else 0.0
    allowed = usual * float(np.sqrt(gammainccinv(half, CHANCE) / half)) + QUANTUM_ADU
    noisy = _outside(deviation, bad_sigma) & (deviation > allowed)
    dead = deviation < usual * float(np.sqrt(gammaincinv(half, CHANCE) / half))
    return bad | noisy | (dead & (usual >= QUANTUM_ADU))


def _outside(values: NDArray[np.float32], sigmas: float) -> NDArray[np.bool_]:
    seen = values[np.isfinite(values)]
    if not seen.size:
        return np.zeros(values.shape, dtype=np.bool_)
    middle = np.median(seen)
    limit = sigmas * MAD_TO_SIGMA * np.median(np.abs(seen - middle)) + QUANTUM_ADU
    outside: NDArray[np.bool_] = np.abs(values - middle) > limit
    return outside


class Darks:
    """Dark frames of a scan, one `Dark` for each dwell; `field` gives the one nearest to a dwell.

    A dwell beyond the first `MOST` joins the nearest one, so that memory is bounded.
    """

    MOST = 8

    def __init__(self, shape: tuple[int, int], bad_sigma: float) -> None:
        self._shape = shape
        self._bad_sigma = bad_sigma
        self._of: dict[float, Dark] = {}
        self._fields: dict[float, Field] = {}
        self.index: set[int] = set()
        """The frames that were taken in."""

    @property
    def frames(self) -> int:
        """Dark frames taken in."""
        return sum(dark.frames for dark in self._of.values())

    @property
    def frozen(self) -> bool:
        """Whether fields were made; later dark frames are refused."""
        return bool(self._fields)

    @property
    def bad(self) -> int:
        """Bad pixels, the most of any dwell."""
        return max((field.bad for field in self._fields.values()), default=0)

    def add(self, images: NDArray[np.float32], dwell_s: float, index: Iterable[int] = ()) -> None:
        """Take in dark images (n, y, x) float32 [ADU] of one dwell and of frames `index`; not once it is frozen."""
        self._dark(dwell_s).add(images)
        self.index.update(index)

    @property
    def sums(self) -> dict[str, NDArray[Any]]:
        """For `gather` of another: dwell_s (k,), frames (k,), count, mean and spread (k, y, x) float32, index (n,)."""
        parts = [dark.sums for dark in self._of.values()] or [(np.zeros((0, *self._shape), np.float32),) * 3]
        count, mean, spread = (np.concatenate([part[n].reshape(-1, *self._shape) for part in parts]) for n in range(3))
        return {"dwell_s": np.array(list(self._of), np.float64), "count": count, "mean": mean, "spread": spread,
                "frames": np.array([dark.frames for dark in self._of.values()], np.int64),
                "index": np.array(sorted(self.index), np.int64)}

    def gather(self, every: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        """Become what all of these have together; the same ones in the same order give the same fields."""
        self._of, self.index = {}, set()
        for sums in every:
            self.index.update(sums["index"].tolist())
            for n, dwell_s in enumerate(sums["dwell_s"].tolist()):
                self._dark(dwell_s).join(int(sums["frames"][n]), sums["count"][n], sums["mean"][n], sums["spread"][n])

    def freeze(self) -> None:
        """Make the fields from what was taken in; without any dark frame it stays open."""
        if not self.frozen:
            self._fields = {dwell_s: dark.field(self._bad_sigma) for dwell_s, dark in self._of.items()}

    def field(self, dwell_s: float) -> Field:
        """The field of the dwell nearest to `dwell_s`; all zero without dark frames."""
        if not self._fields:
            return Field(np.zeros(self._shape, dtype=np.float32), 0, 0)
        return self._fields[_nearest(dwell_s, self._fields)]

    def _dark(self, dwell_s: float) -> Dark:
        if dwell_s not in self._of and len(self._of) < self.MOST:
            self._of[dwell_s] = Dark(self._shape)
        return self._of[_nearest(dwell_s, self._of)]


def _nearest(dwell_s: float, known: dict[float, Dark] | dict[float, Field]) -> float:
    return min(known, key=lambda other: (abs(other - dwell_s), other))
