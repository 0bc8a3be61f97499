"""Windows on the object grid."""

import msgspec
import numpy as np
import pytest

from camlink.block import Scan
from camlink.compute.ptychography.geometry import Geometry
from camlink.errors import FormatError

SCAN = Scan(id="s", expected=4, shape=(64, 32), pixel_m=(30e-6, 30e-6), distance_m=0.1, energy_eV=800.0,
            span_m=(1e-6, 2e-6, 3e-6, 5e-6))


def test_first_position_lies_at_the_margin_and_y_grows_downwards():
    grid = Geometry.of(SCAN, margin=8)
    pixel = SCAN.object_pixel_m
    corners = grid.corners(np.array([[1e-6, 2e-6], [1e-6 + 3 * pixel[0], 2e-6 - 2 * pixel[1]]]))
    np.testing.assert_allclose(corners, [[8, 8], [11, 6]], atol=1e-9)


def test_pixel_is_wavelength_times_distance_over_frame_width():
    wavelength = 1.239842e-6 / 800
    np.testing.assert_allclose(Geometry.of(SCAN, 0).pixel_m, [wavelength * 0.1 / (64 * 30e-6),
                                                              wavelength * 0.1 / (32 * 30e-6)], rtol=1e-5)


def test_every_corner_of_the_span_fits():
    grid = Geometry.of(SCAN, margin=0)
    y0, x0, y1, x1 = SCAN.span_m
    corners = grid.corners(np.array([[y0, x0], [y1, x1], [y0, x1]]))
    assert grid.inside(corners).all()
    assert (np.rint(corners) + grid.frame <= grid.shape).all()


def test_origin_is_the_position_of_pixel_zero():
    grid = Geometry.of(SCAN, margin=5)
    np.testing.assert_allclose(grid.corners(np.array([grid.origin_m])), [[0, 0]], atol=1e-9)


def test_outside_and_nan_are_not_inside():
    grid = Geometry.of(SCAN, margin=2)
    assert grid.inside(np.array([[-1.0, 0], [np.nan, 3], [1e9, 0], [0, 0]])).tolist() == [False, False, False, True]


def test_halved_grid_doubles_the_pixel_and_holds_the_windows():
    grid = Geometry.of(SCAN, margin=4)
    small = grid.halved()
    assert small.frame == (32, 16)
    assert small.pixel_m == (2 * grid.pixel_m[0], 2 * grid.pixel_m[1])
    top = np.array(grid.shape) - grid.frame
    assert small.inside(np.array([[0, 0], top / 2])).all()


@pytest.mark.parametrize("change", [{"distance_m": 0.0}, {"energy_eV": float("nan")}, {"pixel_m": (-1.0, 1.0)},
                                    {"span_m": (1.0, 0.0, 0.0, 1.0)}, {"span_m": (0.0, 0.0, 1e3, 1e3)},
                                    {"span_m": (0.0, 0.0, float("inf"), 1.0)}])
def test_impossible_scans_are_refused(change):
    with pytest.raises(FormatError, match="scan 's'"):
        Geometry.of(msgspec.structs.replace(SCAN, **change), 8)
