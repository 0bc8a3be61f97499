from __future__ import annotations

import pytest

from camlink.block import RawFrames
from camlink.carry.memory import MemoryLink
from camlink.errors import Closed
from camlink.runtime.flow import Inbox, Outbox
from camlink.testing.toys import toy_frames, toy_scan

SCAN = toy_scan(100)


def give_up() -> None:
    raise Closed("given up")


def block(index: int) -> RawFrames:
    return toy_frames(SCAN, index, 1)


def test_blocks_are_stamped_with_their_source_and_number() -> None:
    link = MemoryLink()
    outbox, inbox = Outbox("camera", [link.outlet], give_up), Inbox([link.inlet], give_up)
    for index in range(3):
        outbox.send(block(index))
    got = [inbox.take(1.0) for _ in range(3)]
    assert [(b.header.source, b.header.sequence) for b in got if b] == [("camera", n) for n in range(3)]
    assert outbox.scan == "toy"


def test_what_was_taken_is_released_by_the_next_take() -> None:
    link = MemoryLink()
    outbox, inbox = Outbox("camera", [link.outlet], give_up), Inbox([link.inlet], give_up)
    for index in range(2):
        outbox.send(block(index))
    inbox.take(1.0)
    link.outlet.pump()
    assert link.outlet.account.acknowledged == 0
    inbox.take(1.0)
    link.outlet.pump()
    assert link.outlet.account.acknowledged == 1
    inbox.release()
    link.outlet.pump()
    assert link.outlet.account.acknowledged == 2


def test_links_take_turns_so_that_none_starves() -> None:
    links = [MemoryLink(), MemoryLink()]
    inbox = Inbox([link.inlet for link in links], give_up)
    for name, link in zip("ab", links, strict=True):
        outbox = Outbox(name, [link.outlet], give_up)
        for index in range(3):
            outbox.send(block(index))
    taken = [inbox.take(1.0) for _ in range(6)]
    assert [b.header.source for b in taken if b] == ["a", "b", "a", "b", "a", "b"]


def test_the_end_of_all_links_is_the_end_of_the_inbox() -> None:
    links = [MemoryLink(), MemoryLink()]
    inbox = Inbox([link.inlet for link in links], give_up)
    links[0].outlet.finish()
    assert not inbox.ended
    links[1].outlet.finish()
    assert list(inbox) == []


def test_an_empty_inbox_is_not_waited_for_beyond_the_time() -> None:
    assert Inbox([MemoryLink().inlet], lambda: None).take(0.01) is None


def test_a_wait_ends_when_the_run_is_given_up() -> None:
    link = MemoryLink(limit_bytes=10)
    outbox = Outbox("camera", [link.outlet], give_up)
    outbox.send(block(0))
    with pytest.raises(Closed):
        outbox.send(block(1))
    with pytest.raises(Closed):
        Inbox([MemoryLink().inlet], give_up).take(1.0)
    with pytest.raises(Closed):
        outbox.close()
