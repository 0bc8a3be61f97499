"""The courier of one host: what is sent arrives, sums are the same bits everywhere, and nobody waits for ever."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from camlink.compute.ptychography.many.shared import Desk, SharedCourier
from camlink.errors import PeerLost


def together(ranks, work, patience_s=30.0):
    """`work(courier)` on all ranks at once, in threads of this process."""
    desks = Desk.several(ranks)
    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(lambda desk: work(SharedCourier(desk, patience_s)), desks))


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_parcels_arrive_and_sums_agree(ranks):
    def work(courier):
        rng = np.random.default_rng(courier.rank)
        seen = []
        for size in (3, 1, 4000, 20, 9000):  # larger than the sheet, then smaller, then larger again
            parcels = {other: [np.full(size, courier.rank * 10 + other, np.float32), np.zeros((0, 2))]
                       for other in range(ranks) if other != courier.rank}
            sums = [rng.standard_normal(size).astype(np.float32), np.array([courier.rank + 1j])]
            received = courier.trade(parcels, sums)
            assert all((parts[0] == other * 10 + courier.rank).all() for other, parts in received.items())
            assert sums[1] == sum(range(ranks)) + 1j * ranks
            seen.append(sums[0])
        return seen

    first, *others = together(ranks, work)
    for other in others:
        for one, same in zip(first, other, strict=True):
            assert np.array_equal(one, same)


def test_the_highest_wins():
    assert together(3, lambda courier: courier.highest([2.0, 7.5, 1.0][courier.rank])) == [7.5] * 3


def test_a_rank_that_does_not_come_is_named():
    courier = SharedCourier(Desk.several(3)[0], patience_s=0.05)
    with pytest.raises(PeerLost, match=r"rank 1 .* did not come"):
        courier.highest(0.0)


def test_a_rank_that_is_gone_is_noticed_at_once():
    desks = Desk.several(3)
    courier = SharedCourier(desks[0])
    for desk in desks[1:]:
        desk.leave()
    with pytest.raises(PeerLost, match="gone"):
        courier.highest(0.0)


def test_memory_cannot_be_taken_from_under_those_who_look():
    desks = Desk.several(2)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(desks[0].sheets[1], 4096)
    finally:
        for desk in desks:
            desk.leave()
