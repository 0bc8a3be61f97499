"""Judge: the same figures for every contestant, worked out from its object and probe alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.evaluate.contestant import Snapshot
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.metric import Score, aligned, half_bit_crossing, ring_correlation, score
from camlink.compute.ptychography.model import data_misfit, exit_waves, far_field, magnitude
from camlink.compute.ptychography.shift import Shifts

Array = NDArray[Any]
RIM_PX: Final = 4
SMALLEST_BOX_PX: Final = 6 * RIM_PX
SOME_FRAMES: Final = 64
CHUNK: Final = 16
FRACTIONS: Final = 8


def centre_box(image: Array, corner: tuple[int, int], dataset: DataSet) -> Array | None:
    """The part of `image` (H, W) between the outermost frame centres; None when that is too small or not covered.

    `corner` is the pixel at which the window of the first position starts.
    """
    low = [first + side // 2 for first, side in zip(corner, dataset.frame, strict=True)]
    high = [start + size for start, size in zip(low, dataset.extent, strict=True)]
    covered = min(low) >= 0 and high[0] <= image.shape[0] and high[1] <= image.shape[1]
    if not covered or min(dataset.extent) < SMALLEST_BOX_PX:
        return None
    return image[low[0]:high[0], low[1]:high[1]]


def picture_of(dataset: DataSet, snapshot: Snapshot) -> Array | None:
    """The object of a snapshot between the frame centres."""
    return centre_box(snapshot.object, (snapshot.margin, snapshot.margin), dataset)


def truth_of(dataset: DataSet) -> Array | None:
    """The truth between the frame centres; None where there is none."""
    return None if dataset.truth is None else centre_box(dataset.truth, dataset.truth_corner, dataset)


def truth_score(dataset: DataSet, snapshot: Snapshot) -> Score | None:
    """Error against the truth; None without a truth or with an object that is not finite."""
    found, true = picture_of(dataset, snapshot), truth_of(dataset)
    if found is None or true is None or not np.isfinite(found).all() or not np.abs(found).any():
        return None
    return score(found, true, RIM_PX)


def fourier_error(dataset: DataSet, snapshot: Snapshot, limit: int | None = None) -> float | None:
    """|| |F P O_j| - A || / ||A|| over all frames or `limit` of them spread evenly.

    Positions count to an eighth of a pixel. None when object or probe is not finite or does not cover the frames.
    """
    corners = dataset.corners(snapshot.margin) if snapshot.corners is None else snapshot.corners
    most = [side - size for side, size in zip(snapshot.object.shape, dataset.frame, strict=True)]
    covered = np.rint(corners).min() >= 0 and (np.rint(corners) <= most).all()
    if not covered or not all(np.isfinite(part).all() for part in (snapshot.object, snapshot.probe)):
        return None
    shifts = Shifts(FRACTIONS, dataset.frame, snapshot.probe)
    places = shifts.places(corners, (most[0], most[1]))
    probes = shifts.table(snapshot.probe) if places.rows.any() else snapshot.probe[None]
    step = max(1, -(-len(dataset) // limit)) if limit else 1
    gap = seen = 0.0
    for start in range(0, len(dataset), CHUNK * step):
        part = slice(start, start + CHUNK * step, step)
        waves = exit_waves(probes[places.rows[part]], snapshot.object, places.whole[part])
        model = magnitude(far_field(waves), snapshot.background)
        amplitude = dataset.amplitude(part)
        if snapshot.gains is not None:
            amplitude = amplitude * snapshot.gains[part, None, None]
        more_gap, more_seen = data_misfit(model, amplitude)
        gap, seen = gap + more_gap, seen + more_seen
    return float(np.sqrt(gap / seen)) if seen > 0 else None


def resolution(one: Array, other: Array) -> tuple[float, list[float]]:
    """Where two pictures, the second one brought onto the first, agree by half a bit no more [fraction of Nyquist].

    And their whole ring correlation, up to Nyquist.
    """
    inner = (slice(RIM_PX, -RIM_PX), slice(RIM_PX, -RIM_PX))
    turned, still = aligned(other, one)[inner], one[inner]
    found, _ = ring_correlation(turned, still)
    return half_bit_crossing(turned, still), [round(float(value), 4) for value in found]


def half_period_nm(dataset: DataSet, half_bit: float | None) -> float | None:
    """Half a period [nm] of the ring where the correlation crosses; None where a set has no lengths."""
    if not half_bit or not dataset.in_metres:
        return None
    return 1e9 * max(dataset.scan.object_pixel_m) / half_bit
