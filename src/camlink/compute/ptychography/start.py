"""Start: the first object from the transmitted sums, and the first probe, if need be by trying several defoci."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.block import Scan
from camlink.compute.arrays import namespace, to_host
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.intake import Batch
from camlink.compute.ptychography.kernels.choice import trial_kernel
from camlink.compute.ptychography.probe import PUPIL_LEVEL, Constraints, angles, first_probe
from camlink.compute.ptychography.slots import Slots

Array = NDArray[Any]
TRIAL_FRAMES = 48
TRIAL_ITERATIONS = 12
TRIAL_SPREADS = (0.0, 0.12, 0.2, 0.3, 0.4, 0.5)
"""Diameters of the defocused beam that are tried, as parts of the window; both signs of each."""


def mean_pattern(batch: Batch) -> Array:
    """Mean counts (y, x) float64 [photon] over the frames that have a value there, 0 where none has."""
    amplitude = np.maximum(batch.amplitude, 0)
    known = to_host((batch.amplitude >= 0).sum(axis=0))
    return np.asarray(to_host((amplitude * amplitude).sum(axis=0, dtype=np.float64)) / np.maximum(known, 1))


def first_image(batch: Batch, probe: Array, geometry: Geometry) -> Array:
    """The object (H, W) complex64 as a scanning transmission microscope sees it, made where the amplitudes are.

    sqrt(photons/brightest), blurred by the probe; outside of the scan it has the mean transmission.
    """
    space = namespace(batch.amplitude)
    photons = batch.photons
    transmission = np.sqrt(photons / max(float(photons.max(initial=0.0)), np.finfo(np.float64).tiny))
    light = space.asarray((np.abs(probe) ** 2).sum(axis=0))
    corners = space.asarray(np.rint(batch.corners).astype(np.int64))
    total, weight = (overlap.object_weight(overlap.comb(corners, space.asarray(weights), geometry.shape), light)
                     for weights in (batch.weights * transmission, batch.weights))
    seen = batch.weights > 0
    level = float(transmission[seen].mean()) if seen.any() else 1.0
    return overlap.divide(total, weight, space.full(geometry.shape, level, np.complex64), 1e-3)


def defoci(mean: Array, scan: Scan) -> list[float]:
    """Defoci [m] that spread the beam of this pupil over the TRIAL_SPREADS of the window, both signs."""
    theta2 = angles(scan, (mean.shape[0], mean.shape[1]))
    bright = mean > PUPIL_LEVEL * float(mean.max(initial=0.0))
    reach = float(np.sqrt(theta2[bright].max(initial=0.0)))
    if reach <= 0:
        return [0.0]
    window_m = min(side * pixel for side, pixel in zip(mean.shape, scan.object_pixel_m, strict=True))
    found = [spread * window_m / (2 * reach) for spread in TRIAL_SPREADS]
    return [*found, *(-defocus for defocus in found if defocus > 0)]


def focused_probe(batch: Batch, scan: Scan, geometry: Geometry, power: float) -> Array:
    """The first probe (1, y, x) complex64 whose defocus explains the first frames best after a short trial each."""
    mean = mean_pattern(batch)
    step = max(1, len(batch) // TRIAL_FRAMES)
    few = batch.part(slice(None, None, step))
    trials = [first_probe(mean, scan, defocus, power) for defocus in defoci(mean, scan)]
    errors = [trial_error(few, probe, geometry, power) for probe in trials]
    return trials[int(np.argmin(errors))]


def trial_error(batch: Batch, probe: Array, geometry: Geometry, power: float) -> float:
    """Fourier error that a start probe reaches in TRIAL_ITERATIONS on the inner half of the frames.

    Half the resolution, a quarter of the work.
    """
    small = geometry.halved()
    rows, columns = (_inner(size, half) for size, half in zip(geometry.frame, small.frame, strict=True))
    amplitude = batch.amplitude[:, rows][:, :, columns]
    field = np.fft.fft2(probe, norm="ortho")[:, rows[:, None], columns[None, :]]
    coarse = np.fft.ifft2(field, norm="ortho").astype(np.complex64)
    corners = np.minimum(np.rint(batch.corners / 2), np.subtract(small.shape, small.frame))
    kernel = trial_kernel(small.frame, amplitude)
    slots = Slots(len(batch), 1, small.frame, np.dtype(np.float32), kernel.space)
    half = Batch(batch.index, amplitude, corners, batch.weights)
    inside = float((np.abs(coarse) ** 2).sum())
    engine = Engine(small, slots, kernel, probe=coarse, image=first_image(half, coarse, small),
                    constraints=Constraints(None, min(power, inside) if inside > 0 else power))
    engine.put(batch.index, amplitude, corners, batch.weights)
    for iteration in range(TRIAL_ITERATIONS):
        engine.iterate(raar(0.75), refine_probe=iteration >= TRIAL_ITERATIONS // 3)
    return engine.fourier_error()


def _inner(size: int, half: int) -> Array:
    """Rows of the `half` lowest frequencies of `size`, zero frequency first."""
    low = (half + 1) // 2
    return np.concatenate([np.arange(low), np.arange(size - (half - low), size)])
