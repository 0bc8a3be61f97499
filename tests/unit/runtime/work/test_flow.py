from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zmq

from camlink.block import Block, RawFrames
from camlink.carry.memory import MemoryLink
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.errors import Closed
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.flow import Inbox, Outbox, finish
from camlink.runtime.work.porter import Porter
from camlink.testing.ends import until
from camlink.testing.toys import toy_frames, toy_scan

SCAN = toy_scan(100)


def spec(folder: Path, **more: Any) -> WorkerSpec:
    return WorkerSpec(operator="solve", replica=0, where="m:f", kind="solver", parameters={}, inputs=(), outputs=(),
                      folder=str(folder), sockets=str(folder), provenance={}, **more)


def give_up() -> None:
    raise Closed("given up")


def calm() -> None:
    return None


def block(index: int) -> RawFrames:
    return toy_frames(SCAN, index, 1)


def inbox_of(folder: Path, *links: MemoryLink, look: Any = calm, porter: Porter | None = None,
             outboxes: tuple[Outbox, ...] = ()) -> Inbox:
    inbox = Inbox(porter or Porter(spec(folder), "frames", None, once=True), look, outboxes)
    for link in links:
        inbox.add(link.inlet)
    return inbox


def index_of(found: Block | None) -> int:
    assert isinstance(found, RawFrames)
    return int(found.index[0])


def test_blocks_are_stamped_with_their_source_and_number(tmp_path: Path) -> None:
    link = MemoryLink()
    outbox, inbox = Outbox("camera", [link.outlet], calm, 5), inbox_of(tmp_path, link)
    assert [outbox.send(block(index)) for index in range(3)] == [5, 6, 7]
    got = [inbox.take(1.0) for _ in range(3)]
    assert [(b.header.source, b.header.sequence) for b in got if b] == [("camera", n) for n in (5, 6, 7)]
    assert outbox.scan == "toy"


def test_what_was_taken_is_released_by_the_next_take(tmp_path: Path) -> None:
    link = MemoryLink()
    outbox, inbox = Outbox("camera", [link.outlet], calm), inbox_of(tmp_path, link)
    for index in range(2):
        outbox.send(block(index))
    inbox.take(1.0)
    assert link.outlet.account.acknowledged == 0
    inbox.take(1.0)
    outbox.pump()
    assert link.outlet.account.acknowledged == 1
    inbox.done()
    outbox.pump()
    assert link.outlet.account.acknowledged == 2


def test_what_was_taken_is_acknowledged_only_when_what_was_made_of_it_is(tmp_path: Path) -> None:
    before, after = MemoryLink(), MemoryLink()
    camera, made = Outbox("camera", [before.outlet], calm), Outbox("count", [after.outlet], calm)
    inbox = inbox_of(tmp_path, before, outboxes=(made,))
    last = inbox_of(tmp_path, after)
    for index in range(2):
        camera.send(block(index))
        taken = inbox.take(1.0)
        assert taken is not None
        inbox.done(((made, made.send(taken)),))
    camera.pump()
    assert before.outlet.account.acknowledged == 0
    last.take(1.0)
    last.take(1.0)  # the first one is done with, the second in work
    made.pump()
    inbox.free()
    camera.pump()
    assert before.outlet.account.acknowledged == 1


def test_links_take_turns_so_that_none_starves(tmp_path: Path) -> None:
    links = [MemoryLink(), MemoryLink()]
    inbox = inbox_of(tmp_path, *links)
    for name, link in zip("ab", links, strict=True):
        outbox = Outbox(name, [link.outlet], calm)
        for index in range(3):
            outbox.send(block(index))
    taken = [inbox.take(1.0) for _ in range(6)]
    assert [b.header.source for b in taken if b] == ["a", "b", "a", "b", "a", "b"]


def test_a_frame_that_comes_again_is_left_out_and_counted(tmp_path: Path) -> None:
    link = MemoryLink()
    outbox = Outbox("camera", [link.outlet], calm)
    porter = Porter(spec(tmp_path), "frames", None, once=True)
    inbox = inbox_of(tmp_path, link, porter=porter)
    for first, count in ((0, 2), (0, 2), (1, 3)):
        outbox.send(toy_frames(SCAN, first, count))
    got = [inbox.take(0.1) for _ in range(3)]
    assert [b.index.tolist() for b in got if isinstance(b, RawFrames)] == [[0, 1], [2, 3]]
    assert porter.repeated == 3
    inbox.done()
    outbox.pump()
    assert link.outlet.account.acknowledged == 7


def test_the_next_attempt_gets_first_what_the_one_before_had_taken(tmp_path: Path) -> None:
    link = MemoryLink()
    outbox = Outbox("camera", [link.outlet], calm)
    first = inbox_of(tmp_path, link, porter=Porter(spec(tmp_path), "frames", None, once=True, kept="all"))
    for index in range(3):
        outbox.send(block(index))
    assert [index_of(first.take(1.0)) for _ in range(2)] == [0, 1]  # and is killed with 1 in its hands
    again = MemoryLink()
    outbox = Outbox("camera", [again.outlet], calm)
    for index in (1, 2):
        outbox.send(block(index))
    porter = Porter(spec(tmp_path, attempt=1), "frames", None, once=True, kept="all")
    second = inbox_of(tmp_path, again, porter=porter)
    assert not second.ended
    assert [index_of(second.take(0.1)) for _ in range(3)] == [0, 1, 2]
    assert porter.repeated == 1


def test_a_block_that_is_set_aside_lies_in_the_dead_letters_once(tmp_path: Path) -> None:
    link = MemoryLink()
    outbox = Outbox("camera", [link.outlet], calm)
    outbox.send(block(0))
    outbox.send(block(1))
    made = spec(tmp_path, set_aside={"camera toy frame 0+1": "boom"})
    porter = Porter(made, "frames", None, once=True)
    inbox = inbox_of(tmp_path, link, porter=porter)
    assert index_of(inbox.take(1.0)) == 1
    assert porter.aside == {"boom": 1}
    later = Porter(spec(tmp_path, attempt=1), "frames", None, once=True)
    assert later.aside == {"boom": 1}
    (letter,) = list((tmp_path / "dead-letters").iterdir())
    from camlink.carry.disk.journal import read_blocks

    (found,) = list(read_blocks(letter))
    assert index_of(found) == 0
    assert found.header.facts["error"] == "boom"


def test_the_end_of_all_links_is_the_end_of_the_inbox(tmp_path: Path) -> None:
    links = [MemoryLink(), MemoryLink()]
    inbox = inbox_of(tmp_path, *links)
    links[0].outlet.finish()
    assert not inbox.ended
    links[1].outlet.finish()
    inbox.awaited["k"] = 1  # a sender is being replaced
    assert not inbox.ended
    inbox.awaited["k"] = 0
    assert list(inbox) == []
    assert inbox.ended


def test_an_empty_inbox_is_not_waited_for_beyond_the_time(tmp_path: Path) -> None:
    assert inbox_of(tmp_path, MemoryLink()).take(0.01) is None


def test_what_is_done_with_is_acknowledged_while_nothing_comes(tmp_path: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    try:
        outlet = ZmqOutlet(context, "inproc://a", "l")
        inbox = inbox_of(tmp_path)
        inbox.add(ZmqInlet(context, "inproc://a", "l"))
        until(lambda: outlet.pump() or outlet.ready, "the hello")
        outbox = Outbox("camera", [outlet], calm)
        for index in range(4):
            outbox.send(block(index))
        for index in range(4):
            assert index_of(inbox.take(5.0)) == index
        inbox.done()
        inbox.wait(4.0)
        until(lambda: outlet.pump() or outlet.account.acknowledged == 4, "the answers")
    finally:
        context.destroy(linger=0)


def test_a_wait_ends_when_the_run_is_given_up(tmp_path: Path) -> None:
    link = MemoryLink(limit_bytes=10)
    outbox = Outbox("camera", [link.outlet], give_up)
    Outbox("camera", [link.outlet], calm).send(block(0))
    with pytest.raises(Closed):
        outbox.send(block(1))
    with pytest.raises(Closed):
        inbox_of(tmp_path, MemoryLink(), look=give_up).take(1.0)
    with pytest.raises(Closed):
        finish(outbox.outlets, give_up)
