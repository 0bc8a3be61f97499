"""Slots are joined by frame index and never overflow."""

import numpy as np

from camlink.compute.ptychography.shift import Places
from camlink.compute.ptychography.slots import Slots


def test_known_frames_keep_their_place_and_strangers_find_no_room():
    slots = Slots(2, 1, (4, 4), np.dtype(np.float32))
    assert [slots.claim(index) for index in (70, 3, 70, 8)] == [0, 1, 0, None]
    assert slots.count == 2


def test_places_are_kept_and_ages_counted():
    slots = Slots(3, 2, (4, 4), np.dtype(np.float64))
    place = np.array([slots.claim(5)])
    there = Places(np.array([[2.4, 3.6]]), np.array([[2, 4]]), np.array([0]))
    slots.fill(place, np.ones((1, 4, 4)), np.ones((1, 2, 4, 4)), there, np.ones(1), now=7)
    assert slots.active.corners.tolist() == [[2, 4]]
    assert slots.active.waves.dtype == np.complex128
    assert slots.ages(10).tolist() == [3]
    assert len(slots.active.part(slice(0, 1)).weights) == 1
    assert not slots.shifted
    slots.place(place, Places(np.array([[2.6, 3.5]]), np.array([[3, 4]]), np.array([9])))
    assert slots.corners.tolist() == [[2.6, 3.5]]
    assert slots.told.tolist() == [[2.4, 3.6]]
    assert slots.shifted
    assert slots.find(np.array([5, 6])).tolist() == [0, -1]
