"""Tiles: every frame has one rank, whose pixels hold its window; ranks get equal numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camlink.compute.ptychography.many.tiles import Tiles

FRAME = (8, 6)
SHAPE = (60, 47)
LIMIT = np.subtract(SHAPE, FRAME)


def raster(rows, columns, step=3):
    return np.stack(np.divmod(np.arange(rows * columns), columns), axis=1) * step


def holds(tiles, corners):
    for corner, rank in zip(corners, tiles.rank_of(corners), strict=True):
        for start, size, part in zip(corner, FRAME, tiles.box(rank), strict=True):
            assert part.start <= start
            assert start + size <= part.stop


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("corners", [raster(12, 13), raster(1, 15, 2), raster(17, 1),
                                     np.random.default_rng(0).integers(0, LIMIT + 1, (101, 2))])
def test_counts_are_equal_give_or_take_the_cuts(corners, ranks):
    tiles = Tiles.of(corners, ranks, SHAPE, FRAME)
    counts = np.bincount(tiles.rank_of(corners), minlength=ranks)
    assert counts.max() - counts.min() <= 3
    holds(tiles, corners)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_any_frame_lies_in_the_pixels_of_its_rank(ranks, count, slack, seed):
    rng = np.random.default_rng(seed)
    tiles = Tiles.of(rng.integers(0, LIMIT + 1, (count, 2)), ranks, SHAPE, FRAME, slack)
    late = rng.integers(0, LIMIT + 1, (50, 2))
    assert ((tiles.rank_of(late) >= 0) & (tiles.rank_of(late) < ranks)).all()
    holds(tiles, late)
    for rank in range(ranks):
        rows, columns = tiles.box(rank)
        assert 0 <= rows.start < rows.stop <= SHAPE[0]
        assert 0 <= columns.start < columns.stop <= SHAPE[1]


def test_fewer_frames_than_ranks_leave_some_empty():
    corners = raster(1, 3)
    counts = np.bincount(Tiles.of(corners, 7, SHAPE, FRAME).rank_of(corners), minlength=7)
    assert counts.sum() == 3
    assert counts.max() == 1


def test_without_positions_the_area_is_split():
    tiles = Tiles.even(4, (208, 206), FRAME)
    everywhere = np.stack(np.meshgrid(np.arange(0, 200), np.arange(0, 200), indexing="ij"), -1).reshape(-1, 2)
    counts = np.bincount(tiles.rank_of(everywhere), minlength=4)
    assert counts.min() > 0.9 * counts.max()


def test_meeting_is_mutual_and_ownership_is_a_partition():
    tiles = Tiles.of(raster(12, 13), 5, SHAPE, FRAME)
    owners = np.zeros(SHAPE, int)
    for rank in range(5):
        owners[tiles.box(rank)] += tiles.owned(rank)
        for other, box in tiles.meeting(rank).items():
            back = tiles.meeting(other)[rank]
            assert [part.stop - part.start for part in box] == [part.stop - part.start for part in back]
            whole = np.zeros(SHAPE, bool)
            whole[tiles.box(rank)][box] = True
            assert whole[tiles.box(other)][back].all()
    assert (owners <= 1).all()
    assert (owners[:12 * 3, :13 * 3] == 1).all()
