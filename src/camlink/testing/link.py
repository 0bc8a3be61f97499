"""check_link: what every kind of link must keep, whatever carries the bytes; for our own kinds and for plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from camlink.block import Result
from camlink.carry.envelope import encode
from camlink.carry.link import Inlet
from camlink.clock import now_s
from camlink.testing.ends import NBYTES, PATIENCE_S, Ends, Make, joined, lawful, numbered, offer, receive, taken, until


def _acknowledged(ends: Ends, frames: int) -> None:
    def done() -> bool:
        ends.outlet.pump()
        lawful(ends)
        return ends.outlet.account.acknowledged == frames

    until(done, f"{frames} acknowledged frames")


def check_order(make: Make) -> None:
    """Blocks arrive in order, stay in custody until they are released, in any order, and are accounted."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert [offer(ends, n) for n in range(3)] == [True] * 3
    assert [receive(ends, inlet) for _ in range(4)] == [0, 1, 2, None]
    lawful(ends)
    assert ends.outlet.account.snapshot().in_flight == 3
    assert not ends.outlet.settled(1)
    inlet.release(1)
    _acknowledged(ends, 1)
    inlet.release_one(inlet.number)  # the newest, before the one in between
    _acknowledged(ends, 2)
    assert [ends.outlet.settled(n) for n in range(3)] == [True, False, True]
    inlet.release()
    _acknowledged(ends, 3)
    assert ends.outlet.settled(1)
    assert ends.outlet.account.queue_bytes == 0


def check_credit(make: Make) -> None:
    """A lossless link without credit says no; what was taken is not yet released."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    assert [offer(ends, n) for n in range(5)] == [True] * 4 + [False]
    assert receive(ends, inlet) == 0
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
    assert receive(ends, inlet) == 0
    inlet.release()
    until(lambda: offer(ends, 1, 100 * NBYTES), "credit")
    assert receive(ends, inlet) == 1


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
    got = _drained(ends, inlet)
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
    got = _drained(ends, inlet)
    assert got == sorted(got)
    assert got[-4:] == [46, 47, 48, 49]
    assert ends.outlet.account.dropped == {"drop_oldest": 50 - len(got)}


def check_sample(make: Make) -> None:
    """`sample(n)` lets every n-th block pass and counts the others by its own name."""
    ends = make("sample(4)", 40 * NBYTES, 1)
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(10))
    assert _drained(ends, inlet) == [0, 4, 8]
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
    assert _drained(ends, inlet) == list(range(30))
    assert ends.outlet.account.snapshot().spilled == 0


def _drained(ends: Ends, inlet: Inlet) -> list[int]:
    """What still comes when the outlet finishes; every block is released."""
    ends.outlet.finish()
    got = []
    while not inlet.ended:
        number = receive(ends, inlet, PATIENCE_S)
        if number is not None:
            got.append(number)
            inlet.release()
        lawful(ends)
    inlet.close()
    _finished(ends)
    return got


def _finished(ends: Ends) -> None:
    def done() -> bool:
        ends.outlet.pump()
        return ends.outlet.finished

    until(done, "the acknowledged end")
    lawful(ends)
    assert ends.outlet.account.kept == 0


def check_end(make: Make) -> None:
    """The end is told when all is acknowledged, and is acknowledged itself; before, the outlet says that it is near."""
    ends = make("block", 4 * NBYTES, 1)
    inlet = joined(ends)
    offer(ends, 0)
    ends.outlet.finish()
    assert receive(ends, inlet) == 0
    until(lambda: receive(ends, inlet) is None and inlet.ending, "word of the end")
    assert not inlet.ended
    inlet.release()
    until(lambda: receive(ends, inlet) is None and inlet.ended, "the end")
    assert not ends.outlet.finished
    inlet.close()
    _finished(ends)


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


def check_replaced(make: Make) -> None:
    """A receiver that dies is replaced: what it did not acknowledge comes again, oldest first, and is marked."""
    ends = make("block", 4 * NBYTES, 1)
    first = joined(ends, "w", 0)
    assert [offer(ends, n) for n in range(4)] == [True] * 4
    assert [receive(ends, first) for _ in range(3)] == [0, 1, 2]
    first.release(1)
    _acknowledged(ends, 1)
    first.abandon()
    ends.outlet.lose("w", "killed")
    assert not offer(ends, 4)
    lawful(ends)
    second = joined(ends, "w", 1)
    for number in (1, 2, 3):
        block = taken(ends, second)
        assert (block.header.sequence, block.header.again) == (number, 1)
    second.release()
    until(lambda: offer(ends, 4), "credit")
    assert taken(ends, second).header.again == 0
    second.release()
    ends.outlet.finish()
    until(lambda: receive(ends, second) is None and second.ended, "the end")
    second.close()
    _finished(ends)
    snapshot = ends.outlet.account.snapshot()
    assert (snapshot.sent, snapshot.acknowledged, snapshot.resent, snapshot.lost) == (5, 5, 3, {})


def check_takeover(make: Make) -> None:
    """A later attempt of the same name replaces the old receiver without further word."""
    ends = make("block", 4 * NBYTES, 1)
    first = joined(ends, "w", 0)
    offer(ends, 0)
    assert receive(ends, first) == 0
    second = ends.join("w", 1)
    assert receive(ends, second, PATIENCE_S) == 0
    ends.outlet.lose("w", "killed", attempt=0)  # comes late
    second.release()
    _acknowledged(ends, 1)
    first.abandon()


def check_shared(make: Make) -> None:
    """Receivers share the work; when one dies the other does all; when one leaves its blocks go on."""
    ends = make("block", 8 * NBYTES, 2)
    one, two = joined(ends, "one"), joined(ends, "two")
    for number in range(6):
        assert offer(ends, number)
    mine = {receive(ends, one), receive(ends, one), receive(ends, one)}
    assert len(mine) == 3
    one.abandon()
    ends.outlet.lose("one", "killed")
    ends.outlet.expect(1)
    got = set()
    for _ in range(6):
        got.add(receive(ends, two, PATIENCE_S))
        two.release()
    assert got == set(range(6))
    ends.outlet.expect(2)
    three = joined(ends, "three")
    assert offer(ends, 6)
    until(lambda: offer(ends, 7), "credit")
    held = {two: receive(ends, two, PATIENCE_S), three: receive(ends, three, PATIENCE_S)}
    assert set(held.values()) == {6, 7}
    three.leave()
    assert receive(ends, two, PATIENCE_S) == held[three]
    two.release()
    _acknowledged(ends, 8)
    assert ends.outlet.receivers == ("two",)


def check_end_after_loss(make: Make) -> None:
    """The end waits for blocks of a receiver that dies after the sender has finished."""
    ends = make("block", 8 * NBYTES, 2)
    one, two = joined(ends, "one"), joined(ends, "two")
    assert offer(ends, 0)
    assert offer(ends, 1)
    assert {receive(ends, one), receive(ends, two)} == {0, 1}
    two.release()
    ends.outlet.finish()
    _acknowledged(ends, 1)
    assert receive(ends, two) is None
    assert not two.ended
    one.abandon()
    ends.outlet.lose("one", "killed")
    assert receive(ends, two, PATIENCE_S) in (0, 1)
    two.release()
    until(lambda: receive(ends, two) is None and two.ended, "the end")
    two.close()
    _finished(ends)


def check_latest_after_loss(make: Make) -> None:
    """Under `latest` the newest block reaches a receiver that comes after a loss; older ones are not sent again."""
    ends = make("latest", 4 * NBYTES, 1)
    first = joined(ends, "view", 0)
    offer(ends, 0)
    assert receive(ends, first) == 0
    first.abandon()
    ends.outlet.lose("view", "killed")
    offer(ends, 1)
    offer(ends, 2)
    second = joined(ends, "view", 1)
    assert _drained(ends, second)[-1] == 2


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


LINK_CHECKS: Final[dict[str, Callable[[Make], None]]] = {
    check.__name__.removeprefix("check_"): check for check in (
        check_order, check_credit, check_oversize, check_two_names, check_latest, check_drop_oldest, check_sample,
        check_end, check_detach, check_cut, check_replaced, check_takeover, check_shared, check_end_after_loss,
        check_latest_after_loss, check_age, check_answers)
}


def check_link(make: Make) -> None:
    """Run every check on links that `make(policy, limit_bytes, receivers)` makes; raises AssertionError."""
    for check in LINK_CHECKS.values():
        check(make)
