"""Losses: what a link must keep when a receiver dies, is replaced or leaves; a part of check_link."""

from __future__ import annotations

from camlink.testing.ends import (
    NBYTES,
    PATIENCE_S,
    Make,
    acknowledged,
    drained,
    finished,
    joined,
    lawful,
    offer,
    receive,
    taken,
    until,
)


def check_replaced(make: Make) -> None:
    """A receiver that dies is replaced: what it did not acknowledge comes again, oldest first, and is marked."""
    ends = make("block", 4 * NBYTES, 1)
    first = joined(ends, "w", 0)
    assert [offer(ends, n) for n in range(4)] == [True] * 4
    assert [receive(ends, first, PATIENCE_S) for _ in range(3)] == [0, 1, 2]
    first.release(1)
    acknowledged(ends, 1)
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
    finished(ends)
    snapshot = ends.outlet.account.snapshot()
    assert (snapshot.sent, snapshot.acknowledged, snapshot.resent, snapshot.lost) == (5, 5, 3, {})


def check_takeover(make: Make) -> None:
    """A later attempt of the same name replaces the old receiver without further word."""
    ends = make("block", 4 * NBYTES, 1)
    first = joined(ends, "w", 0)
    offer(ends, 0)
    assert receive(ends, first, PATIENCE_S) == 0
    second = ends.join("w", 1)
    assert receive(ends, second, PATIENCE_S) == 0
    ends.outlet.lose("w", "killed", attempt=0)  # comes late
    second.release()
    acknowledged(ends, 1)
    first.abandon()


def check_shared(make: Make) -> None:
    """Receivers share the work; when one dies the other does all; when one leaves its blocks go on."""
    ends = make("block", 8 * NBYTES, 2)
    one, two = joined(ends, "one"), joined(ends, "two")
    for number in range(6):
        assert offer(ends, number)
    assert len({receive(ends, one, PATIENCE_S) for _ in range(3)}) == 3
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
    acknowledged(ends, 8)
    assert ends.outlet.receivers == ("two",)


def check_end_after_loss(make: Make) -> None:
    """The end waits for blocks of a receiver that dies after the sender has finished."""
    ends = make("block", 8 * NBYTES, 2)
    one, two = joined(ends, "one"), joined(ends, "two")
    assert offer(ends, 0)
    assert offer(ends, 1)
    assert {receive(ends, one, PATIENCE_S), receive(ends, two, PATIENCE_S)} == {0, 1}
    two.release()
    ends.outlet.finish()
    acknowledged(ends, 1)
    assert receive(ends, two) is None
    assert not two.ended
    one.abandon()
    ends.outlet.lose("one", "killed")
    assert receive(ends, two, PATIENCE_S) in (0, 1)
    two.release()
    until(lambda: receive(ends, two) is None and two.ended, "the end")
    two.close()
    finished(ends)


def check_latest_after_loss(make: Make) -> None:
    """Under `latest` the newest block reaches a receiver that comes after a loss; older ones are not sent again."""
    ends = make("latest", 4 * NBYTES, 1)
    first = joined(ends, "view", 0)
    offer(ends, 0)
    assert receive(ends, first, PATIENCE_S) == 0
    first.abandon()
    ends.outlet.lose("view", "killed")
    offer(ends, 1)
    offer(ends, 2)
    second = joined(ends, "view", 1)
    assert drained(ends, second)[-1] == 2
