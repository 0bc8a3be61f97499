"""Slots are joined by frame index and never overflow."""

import numpy as np

from camlink.compute.ptychography.slots import Slots


def test_known_frames_keep_their_place_and_strangers_find_no_room():
    slots = Slots(2, 1, (4, 4), np.dtype(np.float32))
    assert [slots.claim(index) for index in (70, 3, 70, 8)] == [0, 1, 0, None]
    assert slots.count == 2


def test_corners_are_rounded_and_ages_counted():
    slots = Slots(3, 2, (4, 4), np.dtype(np.float64))
    place = np.array([slots.claim(5)])
    slots.fill(place, np.ones((1, 4, 4)), np.ones((1, 2, 4, 4)), np.array([[2.4, 3.6]]), np.ones(1), now=7)
    assert slots.active.corners.tolist() == [[2, 4]]
    assert slots.active.waves.dtype == np.complex128
    assert slots.ages(10).tolist() == [3]
    assert len(slots.active.part(slice(0, 1)).weights) == 1
