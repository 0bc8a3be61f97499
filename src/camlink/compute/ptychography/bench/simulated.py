"""Simulated: a whole scan with its truth, made on the host or on a GPU, to measure the time to a given error."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import to_host
from camlink.compute.ptychography.bench.problem import Case
from camlink.compute.ptychography.evaluate.dataset import DataSet, in_pixels

Array = NDArray[Any]
PHOTONS: Final = 2e6
RIM: Final = 4
TOGETHER: Final = 64
OUTER, STOP, SPREAD = 0.17, 0.45, 0.36
"""Radius of the zone plate's pupil and of its stop as parts of the window and of the radius; the beam's diameter."""
WRONG_DEFOCUS: Final = 0.85
WRONG_PHASE_RAD: Final = 0.03


def simulated(case: Case, space: Any = np, seed: int = 0) -> DataSet:
    """A raster scan with jitter by a defocused zone plate, 2e6 photons a frame, and a start probe of wrong defocus.

    The object has |O| of 0.5 to 1 and phases of -1.2 to 1.2 rad. Counts are drawn in `space`, numpy or cupy.
    """
    random = np.random.default_rng(seed)
    side, columns = case.side, round(np.sqrt(case.frames))
    step = side / 16
    grid = np.stack(np.divmod(np.arange(case.frames), columns), axis=1) * step
    corners = np.rint(grid + random.uniform(-step / 4, step / 4, grid.shape)).astype(np.int64)
    corners += RIM - corners.min(axis=0)
    height, width = corners.max(axis=0) + side + RIM
    truth = phantom((int(height), int(width)), random)
    start = zone_plate(side, WRONG_DEFOCUS) * np.exp(1j * WRONG_PHASE_RAD * random.standard_normal((side, side)))
    counts = _counts(truth, zone_plate(side), corners, space, seed)
    low_y, low_x = corners.min(axis=0).tolist()
    return in_pixels(f"simulated-{case.frames}-{side}", counts, corners,
                     _bright(start)[None].astype(np.complex64), truth, (low_y, low_x))


def zone_plate(side: int, defocus: float = 1.0) -> Array:
    """The beam (y, x) of an annular pupil, spread by its defocus; sum |P|^2 is PHOTONS."""
    f = (np.arange(side) - side // 2) / side
    radius = np.hypot(f[:, None], f[None, :])
    edge = 1.5 / side
    pupil = (1 - np.tanh((radius - OUTER) / edge)) * (1 + np.tanh((radius - OUTER * STOP) / edge))
    phase = np.pi * side * SPREAD / (2 * OUTER) * defocus * radius**2
    return _bright(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * phase)))))


def phantom(shape: tuple[int, int], random: np.random.Generator) -> Array:
    """An object (H, W) complex64 of a spoked star, discs and smooth noise."""
    y, x = (np.arange(size, dtype=np.float64) for size in shape)
    least = min(shape)
    down, right = y[:, None] - 0.42 * shape[0], x[None, :] - 0.42 * shape[1]
    radius, angle = np.hypot(down, right), np.arctan2(down, right)
    star = (np.sin(24 * angle) > 0) & (radius < 0.3 * least) & (radius > 0.018 * least)
    phase, amplitude = -0.9 * star, 1.0 - 0.22 * star
    for _ in range(60):
        disc = np.hypot(y[:, None] - random.uniform(0, shape[0]), x[None, :] - random.uniform(0, shape[1]))
        inside = disc < random.uniform(2, 0.05 * least)
        phase = phase + random.uniform(-0.6, 0.6) * inside
        amplitude = amplitude - random.uniform(0, 0.15) * inside
    phase = 1.2 * np.tanh((phase + 0.18 * _smooth(shape, 0.12, random)) / 1.2)
    amplitude = np.clip(amplitude + 0.04 * _smooth(shape, 0.1, random), 0.5, 1.0)
    return np.asarray(amplitude * np.exp(1j * phase), np.complex64)


def _smooth(shape: tuple[int, int], cut: float, random: np.random.Generator) -> Array:
    """Noise of standard deviation 1 without frequencies well above `cut` [cycles a pixel]."""
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    noise = np.fft.ifft2(np.fft.fft2(random.standard_normal(shape)) * np.exp(-(f / cut) ** 2)).real
    return np.asarray(noise / noise.std())


def _bright(probe: Array) -> Array:
    return np.asarray(probe * np.sqrt(PHOTONS / (np.abs(probe) ** 2).sum()))


def _counts(truth: Array, probe: Array, corners: Array, space: Any, seed: int) -> Array:
    """Photon counts (n, y, x) float32 on the host, zero frequency in the centre."""
    random = space.random.RandomState(seed)
    image, beam = space.asarray(truth), space.asarray(probe.astype(np.complex64))
    side = len(probe)
    counts = np.empty((len(corners), side, side), np.float32)
    for first in range(0, len(corners), TOGETHER):
        some = corners[first:first + TOGETHER]
        seen = space.stack([image[y:y + side, x:x + side] for y, x in some.tolist()])
        field = space.fft.fftshift(space.fft.fft2(seen * beam, norm="ortho"), axes=(1, 2))
        counts[first:first + len(some)] = to_host(random.poisson(space.abs(field) ** 2))
    return counts
