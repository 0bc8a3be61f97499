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


def compare(recorded: Recorded, truth: Truth) -> Score:
    """Score of the object in a file against the truth, inside the box of the frame centres.

    Raises FormatError when the file holds no object, or one on another pixel or place than the truth.
    """
    if recorded.object is None:
        raise FormatError(f"'{recorded.path}' holds no object to compare with the truth")
    image, true = common_box(recorded.object, _place(recorded), truth)
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
    pixel, window = truth.object_pixel_m, len(truth.probe)
    corners = np.rint((truth.positions_m - np.asarray(truth.origin_m)) / pixel).astype(int)
    low, high = corners.min(axis=0) + window // 2, corners.max(axis=0) + window // 2
    shift = np.rint((np.asarray(truth.origin_m) - np.asarray(origin_m)) / pixel).astype(int)
    (a, b), (c, d) = low + shift, high + shift
    if min(a, b) < 0 or c > image.shape[0] or d > image.shape[1]:
        raise FormatError(f"the object ({image.shape[0]} x {image.shape[1]} pixels) does not cover the scanned box; "
                          "is this truth of another scan?")
    return image[a:c, b:d], truth.object[low[0]:high[0], low[1]:high[1]]


def _place(recorded: Recorded) -> tuple[float, float]:
    y, x = (recorded.facts.get(f"origin_{axis}_m", float("nan")) for axis in "yx")
    place = (float(y), float(x))
    if not np.isfinite(place).all():
        raise FormatError(f"'{recorded.path}' does not say where its object lies")
    return place
