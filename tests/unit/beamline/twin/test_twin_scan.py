import re

import numpy as np
import pytest

from camlink.beamline.twin.parameters import TwinParameters
from camlink.beamline.twin.scan import MARGIN_PX, columns, corners, fermat, positions, raster, scan_id
from camlink.block import FrameKind

STEP = 150e-9


def test_raster_rows_run_along_x():
    at = raster(3, 4, STEP)
    assert at.shape == (12, 2)
    np.testing.assert_allclose(np.diff(at[:4], axis=0), np.tile([0, STEP], (3, 1)), atol=1e-15)
    np.testing.assert_allclose(at[4] - at[0], [STEP, 0], atol=1e-15)
    np.testing.assert_allclose(at.mean(axis=0), 0, atol=1e-15)


def test_spiral_has_one_point_on_every_square_step():
    at = fermat(400, STEP)
    r = np.sort(np.hypot(*at.T))
    assert np.pi * r[-1] ** 2 == pytest.approx(400 * STEP**2, rel=0.01)
    near = np.linalg.norm(at[:, None] - at[None], axis=-1) + np.eye(400)
    assert near.min() > 0.5 * STEP


def test_jitter_is_bounded_seeded_and_applied():
    plain = positions(TwinParameters(jitter=0.0))
    shaken, again = positions(TwinParameters(jitter=0.25)), positions(TwinParameters(jitter=0.25))
    offset = (shaken - plain) / STEP
    np.testing.assert_array_equal(shaken, again)
    assert np.abs(offset).max() <= 0.25
    assert offset.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.1)
    assert not np.array_equal(shaken, positions(TwinParameters(jitter=0.25, seed=1)))


@pytest.mark.parametrize("subpixel", [False, True])
def test_every_window_lies_on_the_object(subpixel):
    at = positions(TwinParameters())
    found = corners(at, 16e-9, 128, subpixel=subpixel)
    assert found.corner_px.min() >= MARGIN_PX
    assert (np.ceil(found.corner_px.max(axis=0)) + 128 <= found.object_shape).all()
    np.testing.assert_allclose(found.position_m, at, atol=1e-15 if subpixel else 8.1e-9)
    assert np.array_equal(found.corner_px, np.rint(found.corner_px)) is not subpixel


def test_position_minus_origin_is_the_corner():
    found = corners(positions(TwinParameters()), 16e-9, 128, subpixel=False)
    np.testing.assert_allclose((found.position_m - found.origin_m) / found.object_pixel_m, found.corner_px, atol=1e-9)


def test_columns_of_a_single_exposure():
    p = TwinParameters(points_y=3, points_x=2, dark_frames=4, rate_hz=10.0)
    made = columns(p, raster(3, 2, STEP), 100.0)
    assert p.frame_count == 10 == len(made["index"])
    np.testing.assert_array_equal(made["kind"], [FrameKind.DARK] * 4 + [FrameKind.EXPOSURE] * 6)
    np.testing.assert_array_equal(made["point"], [-1] * 4 + list(range(6)))
    np.testing.assert_allclose(made["time_s"], 100 + np.arange(10) / 10)
    np.testing.assert_array_equal(made["position_m"][4:], raster(3, 2, STEP))
    assert set(made["dwell_s"]) == {p.dwell_s}


def test_columns_of_a_double_exposure():
    p = TwinParameters(points_y=2, points_x=2, dark_frames=3, double_exposure=True, short_fraction=0.2)
    made = columns(p, raster(2, 2, STEP), 0.0)
    assert p.frame_count == 14 == len(made["index"])
    np.testing.assert_array_equal(made["point"][6:], np.repeat(np.arange(4), 2))
    np.testing.assert_allclose(made["dwell_s"], [p.dwell_s, 0.2 * p.dwell_s] * 7)
    dark_dwells = made["dwell_s"][made["kind"] == FrameKind.DARK]
    assert [int((dark_dwells == d).sum()) for d in p.dwells_s] == [3, 3]


def test_scan_id_is_time_and_mark():
    assert re.fullmatch(r"1970-01-02T00-00-00-[0-9a-f]{6}", scan_id(86400.0, 0))
    assert scan_id(86400.0, 0) != scan_id(86400.0, 1)
