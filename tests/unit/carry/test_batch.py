from __future__ import annotations

import time

import numpy as np

from camlink.block import CountFrames, RawFrames
from camlink.carry.batch import Batch
from camlink.testing.toys import toy_scan


def test_a_full_batch_is_one_block_with_a_row_for_each_frame() -> None:
    batch = Batch(RawFrames, toy_scan(10), np.uint16, (4, 4), max_bytes=3 * 32, max_age_s=1e9)
    given = [batch.add(np.full((4, 4), n, np.uint16), n, position_m=(n * 1e-6, 0.0)) for n in range(7)]
    full = [block for block in given if block is not None]
    assert [block.index.tolist() for block in full] == [[0, 1, 2], [3, 4, 5]]
    rest = batch.take()
    assert rest is not None
    assert (rest.count, rest.frames[0, 0, 0], rest.position_m[0, 0]) == (1, 6, 6e-6)
    assert (full[0].frames[2] == 2).all()  # no block changes when the batch goes on
    assert batch.take() is None


def test_no_frame_waits_longer_than_the_batch_may() -> None:
    batch = Batch(CountFrames, toy_scan(10), np.float32, (4, 4), max_age_s=0.02)
    assert batch.add(np.zeros((4, 4), np.float32), 0, time_s=12.5) is None
    assert not batch.due
    time.sleep(0.03)
    assert batch.due
    block = batch.add(np.zeros((4, 4), np.float32), 1)
    assert block is not None
    assert block.count == 2
    assert time.time() - block.header.made_s >= 0.03
    assert block.time_s[0] == 12.5
    assert not batch.due


def test_a_frame_larger_than_a_batch_goes_alone() -> None:
    batch = Batch(RawFrames, toy_scan(2), np.uint16, (4, 4), max_bytes=1)
    assert batch.add(np.zeros((4, 4), np.uint16), 0) is not None
