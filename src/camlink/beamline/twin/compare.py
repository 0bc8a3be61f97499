"""Compare what a run kept with what the twin knows: the error of a reconstruction against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.beamline.twin.truth import Truth, read_truth
from camlink.carry.formats.recorded import Recorded
from camlink.compute.ptychography.metric import Score, score
from camlink.errors import FormatError

SAME = 1e-6
"""Pixels that differ by less are the same."""


def compare(recorded: Recorded, truth: Truth) -> Score:
    """Score of the object in a file against the truth, inside the box of the frame centres.

    One on another pixel (the reduction may keep another part of the detector) is looked up where the pixels of the
    truth are. Raises FormatError when the file holds no object, or does not say its pixel and place.
    """
    if recorded.object is None:
        raise FormatError(f"'{recorded.path}' holds no object to compare with the truth")
    origin, pixel = _fact_m(recorded, "origin"), _fact_m(recorded, "object_pixel")
    if np.allclose(pixel, truth.object_pixel_m, rtol=SAME, atol=0):
        image, true = common_box(recorded.object, origin, truth)
    elif recorded.probe is None:
        raise FormatError(f"'{recorded.path}' holds no probe, so the place of its pixels is not known")
    else:
        image, true = looked_up(recorded.object, origin, pixel, recorded.probe.shape[-2:], truth)
    return score(image, true)


def compare_files(result: Path, truth: Path) -> Score:
    """Score of a CXI result against a truth.h5; raises FormatError."""
    from camlink.carry.formats.cxi_read import read_cxi

    with read_cxi(result) as recorded:
        return compare(recorded, read_truth(truth))


def common_box(image: NDArray[Any], origin_m: tuple[float, float], truth: Truth) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both objects cut to the box of the frame centres, on the grid of the truth (y, x).

    Raises FormatError when the image does not cover that box.
    """
    pixel = truth.object_pixel_m
    low, high = _box(truth)
    shift = np.rint((np.asarray(truth.origin_m) - np.asarray(origin_m)) / pixel).astype(int)
    (a, b), (c, d) = low + shift, high + shift
    if min(a, b) < 0 or c > image.shape[0] or d > image.shape[1]:
        raise _elsewhere(image)
    return image[a:c, b:d], truth.object[low[0]:high[0], low[1]:high[1]]


def looked_up(image: NDArray[Any], origin_m: tuple[float, float], pixel_m: tuple[float, float],
              window: tuple[int, int], truth: Truth) -> tuple[NDArray[Any], NDArray[Any]]:
    """As common_box for an image whose pixel is another one: by cubic splines; `window` is that of its frames (y, x).

    The beam meets the sample in the middle of a window. Raises FormatError when the image does not cover the box.
    """
    from scipy import ndimage

    low, high = _box(truth)
    places = []
    for axis in range(2):
        at_m = (np.arange(low[axis], high[axis]) - len(truth.probe) // 2) * truth.object_pixel_m + truth.origin_m[axis]
        places.append((at_m - origin_m[axis]) / pixel_m[axis] + window[axis] // 2)
    if any(place[0] < 0 or place[-1] > size - 1 for place, size in zip(places, image.shape, strict=True)):
        raise _elsewhere(image)
    grid = np.meshgrid(*places, indexing="ij")
    found = ndimage.map_coordinates(image.real, grid) + 1j * ndimage.map_coordinates(image.imag, grid)
    return found, truth.object[low[0]:high[0], low[1]:high[1]]


def _box(truth: Truth) -> tuple[NDArray[Any], NDArray[Any]]:
    """First and last pixel (y, x) of the truth between the frame centres."""
    corners = np.rint((truth.positions_m - np.asarray(truth.origin_m)) / truth.object_pixel_m).astype(int)
    half = len(truth.probe) // 2
    return corners.min(axis=0) + half, corners.max(axis=0) + half


def _elsewhere(image: NDArray[Any]) -> FormatError:
    return FormatError(f"the object ({image.shape[0]} x {image.shape[1]} pixels) does not cover the scanned box; "
                       "is this truth of another scan?")


def _fact_m(recorded: Recorded, name: str) -> tuple[float, float]:
    y, x = (recorded.facts.get(f"{name}_{axis}_m", float("nan")) for axis in "yx")
    pair = (float(y), float(x))
    if not np.isfinite(pair).all():
        raise FormatError(f"'{recorded.path}' does not say the {name.replace('_', ' ')} of its object")
    return pair
