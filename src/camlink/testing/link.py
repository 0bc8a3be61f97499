"""check_link: what every kind of link must keep, whatever carries the bytes; for our own kinds and for plug-ins."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import zmq
from msgspec.structs import replace

from camlink.block import Result
from camlink.carry.envelope import INLINE_BYTES, encode
from camlink.carry.link import Inlet, Outlet
from camlink.clock import now_s
from camlink.testing.ends import (
    NBYTES,
    PATIENCE_S,
    Make,
    acknowledged,
    drained,
    finished,
    joined,
    lawful,
    numbered,
    offer,
    receive,
    taken,
    until,
)
from camlink.testing.losses import (
    check_end_after_loss,
    check_latest_after_loss,
    check_replaced,
    check_shared,
    check_takeover,
)


def check_order(make: Make) -> None:
    """Blocks arrive in order, stay in custody until they are released, in any order, and are accounted."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert [offer(ends, n) for n in range(3)] == [True] * 3
    assert [receive(ends, inlet, PATIENCE_S) for _ in range(3)] == [0, 1, 2]
    assert receive(ends, inlet) is None
    lawful(ends)
    assert ends.outlet.account.snapshot().in_flight == 3
    assert not ends.outlet.settled(1)
    inlet.release(1)
    acknowledged(ends, 1)
    inlet.release_one(inlet.number)  # the newest, before the one in between
    acknowledged(ends, 2)
    assert [ends.outlet.settled(n) for n in range(3)] == [True, False, True]
    inlet.release()
    acknowledged(ends, 3)
    assert ends.outlet.settled(1)
    assert ends.outlet.account.queue_bytes == 0


def check_credit(make: Make) -> None:
    """A lossless link without credit says no; what was taken is not yet released."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert [offer(ends, n) for n in range(5)] == [True] * 4 + [False]
    assert receive(ends, inlet, PATIENCE_S) == 0
    assert not offer(ends, 4)
    inlet.release()
    until(lambda: offer(ends, 4), "credit")
    assert ends.outlet.account.peak_queue_bytes == 4 * NBYTES
    lawful(ends)


def check_oversize(make: Make) -> None:
    """A block beyond the limit passes an idle link."""
    ends = make("block", 10, 1)
    inlet = joined(ends)
    assert offer(ends, 0)
    assert not offer(ends, 1)
    assert receive(ends, inlet, PATIENCE_S) == 0
    inlet.release()
    until(lambda: offer(ends, 1, 100 * NBYTES), "credit")
    assert receive(ends, inlet, PATIENCE_S) == 1


def check_two_names(make: Make) -> None:
    """A block that has one large array under two names arrives with both, and the next one after it."""
    ends = make("block", 100 * NBYTES, 1)
    inlet = joined(ends)
    block = numbered(0, 10 * NBYTES)
    twice = Result(block.header, {"a": block.arrays["a"], "b": block.arrays["a"]})
    assert ends.outlet.offer(twice, encode(twice))
    assert offer(ends, 1, 10 * NBYTES)
    assert {name: array.nbytes for name, array in taken(ends, inlet).arrays.items()} == {
        "a": 10 * NBYTES, "b": 10 * NBYTES}
    assert receive(ends, inlet, PATIENCE_S) == 1
    lawful(ends)


def check_latest(make: Make) -> None:
    """`latest` never says no, keeps the newest, counts the rest, and delivers the last before the end."""
    ends = make("latest", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(10))
    got = drained(ends, inlet)
    account = ends.outlet.account
    assert got[-1] == 9
    assert account.dropped == {"latest": 10 - len(got)}
    assert account.sent == len(got)


def check_drop_oldest(make: Make) -> None:
    """`drop_oldest` never says no, bounds what waits, keeps order, and counts what it drops."""
    ends = make("drop_oldest", 8 * NBYTES, 1)
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(50))
    assert ends.outlet.account.queue_bytes <= 8 * NBYTES
    got = drained(ends, inlet)
    assert got == sorted(got)
    assert got[-4:] == [46, 47, 48, 49]
    assert ends.outlet.account.dropped == {"drop_oldest": 50 - len(got)}


def check_sample(make: Make) -> None:
    """`sample(n)` lets every n-th block pass and counts the others by its own name."""
    ends = make("sample(4)", 40 * NBYTES, 1)
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(10))
    assert drained(ends, inlet) == [0, 4, 8]
    assert ends.outlet.account.dropped == {"sample(4)": 7}


def check_answers(make: Make) -> None:
    """What is released is acknowledged though nothing else comes, by an owner that only pumps."""
    ends = make("block", 100 * NBYTES, 1)
    inlet = joined(ends)
    for n in range(4):
        assert offer(ends, n)
        assert receive(ends, inlet, PATIENCE_S) == n
        inlet.release()

    def told() -> bool:
        inlet.pump()
        ends.outlet.pump()
        return ends.outlet.account.acknowledged == 4

    until(told, "the answers")
    assert not inlet.owes


def check_spill(make: Make) -> None:
    """`spill` never says no while the disk has room, keeps order, loses nothing, and ends when its file is empty.

    Not one of LINK_CHECKS: what spills stands in front of an outlet of any kind.
    """
    ends = make("spill", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(30))
    lawful(ends)
    snapshot = ends.outlet.account.snapshot()
    assert (snapshot.offered, snapshot.kept, snapshot.spilled) == (30, 30, 26)
    assert drained(ends, inlet) == list(range(30))
    assert ends.outlet.account.snapshot().spilled == 0


def check_end(make: Make) -> None:
    """The end is told when all is acknowledged, and is acknowledged itself; before, the outlet says that it is near."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    offer(ends, 0)
    ends.outlet.finish()
    assert receive(ends, inlet, PATIENCE_S) == 0
    until(lambda: receive(ends, inlet) is None and inlet.ending, "word of the end")
    assert not inlet.ended
    inlet.release()
    until(lambda: receive(ends, inlet) is None and inlet.ended, "the end")
    assert not ends.outlet.finished
    inlet.close()
    finished(ends)


def check_detach(make: Make) -> None:
    """What is in custody and what follows is lost with the reason when nobody listens any more."""
    ends = make("block", 4 * NBYTES, 1)
    joined(ends)
    offer(ends, 0)
    ends.outlet.detach("solver died")
    assert offer(ends, 1)
    ends.outlet.finish()
    assert ends.outlet.finished
    snapshot = ends.outlet.account.snapshot()
    assert (snapshot.sent, snapshot.lost, snapshot.in_flight) == (2, {"solver died": 2}, 0)
    lawful(ends)


def check_cut(make: Make) -> None:
    """A stream whose sender is gone still gives what had come, then ends."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    offer(ends, 0)
    until(lambda: receive(ends, inlet) == 0, "the block")
    inlet.cut()
    until(lambda: receive(ends, inlet) is None and inlet.ended, "the end")


def check_age(make: Make) -> None:
    """The age since capture and the time on this link are kept."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    block = numbered(0)
    old = Result(replace(block.header, made_s=now_s() - 1.0), block.arrays)
    ends.outlet.offer(old, encode(old))
    until(lambda: receive(ends, inlet) == 0, "the block")
    snapshot = inlet.account.snapshot()
    assert snapshot.age_ms(0.5) >= 1000
    assert snapshot.max_hop_s <= snapshot.max_age_s - 0.9
    assert snapshot.hop_ms(0.5) > 0


def check_small(make: Make) -> None:
    """Blocks without arrays wait in memory too: their number is bounded, and `latest` keeps the newest of them."""
    for policy, taken_all in (("block", False), ("latest", True), ("drop_oldest", True)):
        ends = make(policy, 4 * NBYTES, 1)
        joined(ends)
        empty = Result(numbered(0).header, {})
        assert all(ends.outlet.offer(empty, encode(empty)) for _ in range(100)) is taken_all, policy
        assert ends.outlet.account.kept < 50, f"{ends.outlet.account.kept} of 100 blocks wait under {policy}"
        lawful(ends)


def check_ready(make: Make) -> None:
    """An outlet is ready when every expected receiver has said that it is there, and not before."""
    ends = make("block", 4 * NBYTES, 2)
    assert not ends.outlet.ready
    joined(ends, "one")
    assert not ends.outlet.ready
    joined(ends, "two")
    assert ends.outlet.ready


def check_looked_at(make: Make) -> None:
    """What the consumer looks at stays as it is after the release, whatever comes after it."""
    nbytes = 4 * INLINE_BYTES
    ends = make("block", 2 * nbytes, 1)
    inlet = joined(ends)
    arrays = []
    for number in range(12):
        until(lambda number=number: offer(ends, number, nbytes), "credit")  # type: ignore[misc]
        arrays.append(taken(ends, inlet).arrays["a"])
        inlet.release()
    for number, array in enumerate(arrays):
        assert (array == number).all(), f"block {number} was written over while somebody looked at it"


def _woken(end: Inlet | Outlet) -> bool:
    poller = zmq.Poller()
    poller.register(end.pollable, zmq.POLLIN)
    return bool(poller.poll(int(PATIENCE_S * 1000)))


def check_pollable(make: Make) -> None:
    """Whoever waits for an end is woken by what the other end says."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert offer(ends, 0)
    assert _woken(inlet), "nobody is woken by a block"
    assert taken(ends, inlet).header.sequence == 0
    inlet.release()
    assert _woken(ends.outlet), "nobody is woken by an answer"
    acknowledged(ends, 1)


def check_closed(make: Make) -> None:
    """An end that is closed before the stream has ended takes its leave; nothing stays open."""

    def life() -> int:
        ends = make("block", 4 * NBYTES, 1)
        inlet = joined(ends)

        def gone() -> bool:
            ends.outlet.pump()
            return not ends.outlet.receivers

        assert offer(ends, 0)
        assert offer(ends, 1)
        assert receive(ends, inlet, PATIENCE_S) == 0
        inlet.close()
        acknowledged(ends, 1)
        until(gone, "the leave")
        ends.outlet.close()
        assert ends.outlet.account.lost == {"not acknowledged": 1}
        return len(os.listdir("/proc/self/fd"))

    life()  # what is made once and for all
    before = life()
    life()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors of closed ends")


LINK_CHECKS: Final[dict[str, Callable[[Make], None]]] = {
    check.__name__.removeprefix("check_"): check for check in (
        check_order, check_credit, check_oversize, check_two_names, check_latest, check_drop_oldest, check_sample,
        check_end, check_detach, check_cut, check_replaced, check_takeover, check_shared, check_end_after_loss,
        check_latest_after_loss, check_age, check_answers, check_small, check_ready, check_looked_at, check_pollable,
        check_closed)
}


def check_link(make: Make) -> None:
    """Run every check on links that `make(policy, limit_bytes, receivers)` makes; raises AssertionError."""
    for check in LINK_CHECKS.values():
        check(make)
