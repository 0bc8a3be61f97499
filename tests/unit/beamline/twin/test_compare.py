from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from camlink.beamline.twin.compare import common_box, looked_up
from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters
from camlink.compute.ptychography.metric import score
from camlink.errors import FormatError


@pytest.fixture(scope="module")
def truth():
    return Experiment(TwinParameters(points_y=5, points_x=5)).truth()


def test_the_truth_agrees_with_itself_wherever_its_origin_lies(truth):
    pixel = truth.object_pixel_m
    padded = np.pad(truth.object, ((7, 3), (2, 9)), constant_values=1)
    origin = (truth.origin_m[0] - 7 * pixel, truth.origin_m[1] - 2 * pixel)
    image, true = common_box(padded, origin, truth)
    assert np.array_equal(image, true)
    assert score(image, true).nrms < 1e-3


def test_a_wrong_place_is_an_error_and_a_wrong_picture_is_seen(truth):
    with pytest.raises(FormatError, match="does not cover"):
        common_box(truth.object[:60], truth.origin_m, truth)
    image, true = common_box(np.conj(truth.object), truth.origin_m, truth)
    assert score(image, true).nrms > 0.3


def test_a_picture_on_another_pixel_is_looked_up_where_the_truth_is(truth):
    fine, window = truth.object_pixel_m, 128
    coarse, other = fine * 128 / 124, 124
    height, width = truth.object.shape

    def smooth(y_m, x_m):
        return np.exp(1j * np.sin(y_m[:, None] / (9 * fine)) * np.cos(x_m[None, :] / (7 * fine)))

    def places(size, origin, pixel, side):  # on the sample, of the pixels of an object
        return (np.arange(size) - side // 2) * pixel + origin

    known = replace(truth, object=smooth(places(height, truth.origin_m[0], fine, window),
                                         places(width, truth.origin_m[1], fine, window)))
    image = smooth(places(height, truth.origin_m[0], coarse, other), places(width, truth.origin_m[1], coarse, other))
    found, true = looked_up(image, truth.origin_m, (coarse, coarse), (other, other), known)
    assert np.abs(found - true).max() < 2e-3
    same, _ = common_box(image, truth.origin_m, known)
    assert np.abs(same - true).max() > 0.1, "it would not do without"
