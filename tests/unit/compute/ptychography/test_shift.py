"""The table of moved probes, its adjoint, and how corners are split in whole pixels and rows."""

import numpy as np
import pytest

from camlink.compute.ptychography.shift import Shifts

FRAME = (12, 10)
rng = np.random.default_rng(4)


def random(*shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_table_and_adjoint(steps):
    shifts, probe = Shifts(steps, FRAME, random(1)), random(2, *FRAME)
    sums = random(steps**2, 2, *FRAME)
    left, right = np.vdot(shifts.table(probe), sums), np.vdot(probe, shifts.adjoint(sums))
    assert abs(left - right) < 1e-12 * np.linalg.norm(probe) * np.linalg.norm(sums)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_rows_move_by_their_fraction(steps):
    shifts, probe = Shifts(steps, FRAME, random(1)), random(1, *FRAME)
    table = shifts.table(probe)
    by = shifts.fractions(np.arange(steps**2))
    np.testing.assert_array_equal(table[0], probe)
    np.testing.assert_allclose(table, shifts.moved(np.repeat(probe[None], steps**2, 0), by), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(table, axis=(-2, -1)), np.linalg.norm(probe), rtol=1e-12)


def test_moving_by_whole_pixels_is_rolling():
    waves = random(3, 2, *FRAME)
    moved = Shifts(1, FRAME, waves).moved(waves, np.array([[1, -2]] * 3))
    np.testing.assert_allclose(moved, np.roll(waves, (1, -2), axis=(-2, -1)), atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_places_are_the_nearest_on_the_grid(steps):
    shifts = Shifts(steps, FRAME, random(1))
    corners = rng.uniform(0, 9, (200, 2))
    places = shifts.places(corners, (9, 9))
    found = places.whole + shifts.fractions(places.rows)
    assert np.abs(found - corners).max() <= 0.5 / steps + 1e-12
    np.testing.assert_array_equal(places.corners, corners)


def test_whole_corners_use_row_0_and_no_window_leaves_the_grid():
    shifts = Shifts(8, FRAME, random(1))
    corners = np.array([[0, 0], [3, 4], [5, 6]], float)
    places = shifts.places(corners, (5, 6))
    assert not places.rows.any()
    np.testing.assert_array_equal(places.whole, corners)
    beyond = shifts.places(np.array([[5.5, 6.49], [-0.5, -0.49]]), (5, 6))
    np.testing.assert_array_equal(beyond.whole, [[5, 6], [0, 0]])
