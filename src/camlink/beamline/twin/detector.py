"""Detector of the twin: photons become samples with gain bits, as a FastCCD gives them.

A sample is bias + row baseline + signal / gain + noise in 13 bits; the gain steps 1, 4, 8 are in bits 15-14. Every
channel (12 columns of one half) has its own bias and its own baseline, which drifts along the rows and from frame to
frame; the overscan columns carry nothing else.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.geometry import SAMPLES_PER_COLUMN, Geometry, data_columns

HALVES: Final[tuple[Literal["top", "bottom"], ...]] = ("top", "bottom")
DATA_MASK: Final = 0x1FFF

Image = NDArray[np.uint16]
Map = NDArray[np.float32]


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """How the detector answers, in ADU at the highest gain; `gain_codes` are the bits of the steps 1, 4 and 8."""

    adu_per_photon: float = 15.0
    read_noise_adu: float = 4.0
    gain_codes: tuple[int, int, int] = (0x0000, 0x4000, 0xC000)
    gain_steps: tuple[int, int, int] = (1, 4, 8)
    headroom_adu: float = 3900.0
    bias_adu: float = 0x1000
    channel_spread_adu: float = 40.0
    column_spread_adu: float = 3.0
    drift_adu: float = 6.0
    leakage_adu_per_s: float = 25.0
    hot_adu: float = 900.0
    bad_pixels: int = 6


class Detector:
    """One camera with its own biases, drifts and bad pixels, which follow from the seed.

    `bad` (n, 2) holds (row, column) of the image: the dead pixels, which give their bias, then the hot ones.
    """

    def __init__(self, geometry: Geometry, response: Response, seed: int) -> None:
        self.geometry = geometry
        self.response = response
        self.shape = geometry.shape
        self.places = _places(geometry)
        rng = np.random.default_rng([seed, 2])
        self._level = self._fixed_level(rng)
        self._leakage_per_s = np.zeros(self.shape, np.float32)
        self._leakage_per_s.flat[self.places] = response.leakage_adu_per_s * rng.normal(
            1, 0.2, self.data_shape).clip(0)
        self._drift = _Drift(self.shape, response.drift_adu, rng)
        self.bad = self._choose_bad(rng)
        dead, hot = np.split(self.bad, 2)
        self._dead, self._hot = (dead[:, 0], dead[:, 1]), (hot[:, 0], hot[:, 1])

    @property
    def data_shape(self) -> tuple[int, int]:
        """Image without overscan columns (y, x)."""
        return self.geometry.data_shape

    def digitise(self, photons: NDArray[np.integer] | None, corner: tuple[int, int], frame: int, dwell_s: float,
                 rng: np.random.Generator) -> Image:
        """Image (2 rows, 96 chips) uint16 [ADU], overscan included, of `photons` (y, x) detected in `dwell_s`.

        `corner` (row, column without overscan) is where the photons start; None is a frame without beam.
        """
        value = rng.standard_normal(self.shape, dtype=np.float32)
        value *= np.float32(self.response.read_noise_adu)
        value += self._level
        value += np.float32(dwell_s) * self._leakage_per_s
        self._drift.add(value, frame)
        value[self._hot] += self.response.hot_adu * rng.uniform(0.5, 1.5, len(self._hot[0]))
        if photons is None:
            return self._quantise(value)
        lit = self.places[corner[0]:corner[0] + photons.shape[0], corner[1]:corner[1] + photons.shape[1]]
        step = self._steps(photons)
        adu = np.asarray(self.response.adu_per_photon / np.asarray(self.response.gain_steps), np.float32)
        value.reshape(-1)[lit] += np.take(adu, step) * photons
        image = self._quantise(value)
        image.reshape(-1)[lit] |= np.take(np.asarray(self.response.gain_codes, np.uint16), step)
        return image

    def _steps(self, photons: NDArray[np.integer]) -> NDArray[np.intp]:
        limits = np.asarray(self.response.gain_steps[:2]) * self.response.headroom_adu / self.response.adu_per_photon
        return np.asarray((photons > limits[0]).astype(np.intp) + (photons > limits[1]), np.intp)

    def _quantise(self, value: Map) -> Image:
        value[self._dead] = self._level[self._dead]
        value += np.float32(0.5)
        np.clip(value, 0, DATA_MASK, out=value)
        return value.astype(np.uint16)

    def _fixed_level(self, rng: np.random.Generator) -> Map:
        halves, channels = 2, self.shape[1] // SAMPLES_PER_COLUMN
        bias = rng.normal(self.response.bias_adu, self.response.channel_spread_adu, (halves, channels))
        column = rng.normal(0, self.response.column_spread_adu, (halves, self.shape[1]))
        # an overscan sample reads no pixel, so it has the level of its channel and no offset of a column
        for half, name in enumerate(HALVES):
            column[half, np.setdiff1d(np.arange(self.shape[1]), data_columns(self.geometry, name))] = 0
        level = np.repeat(bias, SAMPLES_PER_COLUMN, axis=1) + column  # (half, x)
        return np.repeat(level, self.geometry.rows, axis=0).astype(np.float32)

    def _choose_bad(self, rng: np.random.Generator) -> NDArray[np.int64]:
        flat = rng.choice(self.data_shape[0] * self.data_shape[1], 2 * self.response.bad_pixels, replace=False)
        return np.stack(np.unravel_index(self.places.flat[flat], self.shape), -1).astype(np.int64)


def _places(geometry: Geometry) -> NDArray[np.intp]:
    """Flat index in the image of every pixel of the image without overscan columns."""
    columns = np.stack([data_columns(geometry, half) for half in HALVES])
    first = np.arange(geometry.shape[0]) * geometry.shape[1]
    return first[:, None] + np.repeat(columns, geometry.rows, axis=0)


class _Drift:
    """Baseline of every channel: smooth along the rows from the readout edge, and slow from frame to frame."""

    def __init__(self, shape: tuple[int, int], amplitude_adu: float, rng: np.random.Generator) -> None:
        rows, self._channels = shape[0] // 2, shape[1] // SAMPLES_PER_COLUMN
        t = np.linspace(0, 1, rows)
        shapes = np.stack([np.ones(rows), np.exp(-8 * t), t, np.sin(2 * np.pi * 1.5 * t)])
        self._shapes = shapes.astype(np.float32)  # (4, row)
        size = (2, len(shapes), self._channels)
        self._amplitude_adu = rng.normal(0, amplitude_adu / 2, size)
        self._period_frames = rng.uniform(150, 1500, size)
        self._phase_rad = rng.uniform(0, 2 * np.pi, size)

    def add(self, value: Map, frame: int) -> None:
        """Add the baseline of `frame` to the image `value` (2 rows, x) in place."""
        turn = 2 * np.pi * frame / self._period_frames + self._phase_rad
        weight = (self._amplitude_adu * (1 + np.sin(turn))).astype(np.float32)  # (half, 4, channel)
        rows = self._shapes.shape[1]
        # the readout edges are the first row of the top half and the last row of the bottom half
        for half, part in ((0, value[:rows]), (1, value[:rows - 1:-1])):
            cells = part.reshape(rows, self._channels, SAMPLES_PER_COLUMN)  # a view: only the last axis is split
            cells += (self._shapes.T @ weight[half])[:, :, None]  # (row, channel, 1)
