from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camlink.block import Block, Result
from camlink.carry.envelope import encode
from camlink.carry.link import Kind
from camlink.carry.ring.arena import Arena, place_of
from camlink.testing.ends import NBYTES, Ends, Make, joined, lawful, numbered, taken, until

BIG = 10 * NBYTES


def written(ends: Ends, number: int) -> Block:
    """A block that was written in a room of the link."""
    room = ends.outlet.room((BIG,), np.uint8)
    room[:] = number
    return Result(numbered(number).header, {"a": room})


def arena_of(ends: Ends) -> Any:
    return ends.outlet._arena  # type: ignore[attr-defined]


def over(ends: Ends, inlet: Any, frames: int) -> None:
    until(lambda: inlet.receive() or ends.outlet.pump() or ends.outlet.account.acknowledged == frames, "the end of it")


@pytest.fixture
def ends(make_kind: Callable[[Kind], Make]) -> Ends:
    return make_kind("shm")("block", 4 * BIG, 1)


@pytest.mark.parametrize("kind", ["memory", "zmq", "shm"])
def test_what_is_written_in_a_room_arrives(make_kind: Callable[[Kind], Make], kind: Kind) -> None:
    ends = make_kind(kind)("block", 4 * BIG, 1)
    inlet = joined(ends)
    for number in range(20):
        block = written(ends, number)
        until(lambda block=block: ends.outlet.pump() or ends.outlet.offer(block, encode(block)), "credit")
        got = taken(ends, inlet)
        assert (got.arrays["a"] == number).all()
        del got
        inlet.release()
    over(ends, inlet, 20)
    lawful(ends)


def test_a_room_is_not_copied_and_is_free_again_when_nobody_looks(ends: Ends) -> None:
    inlet, arena = joined(ends), arena_of(ends)
    before = arena.free_bytes
    block = written(ends, 5)
    assert place_of(block.arrays["a"]) == (arena, 0)
    after = arena.free_bytes
    assert ends.outlet.offer(block, encode(block))
    assert after - arena.free_bytes < 2000  # the head only
    got = taken(ends, inlet)
    array = got.arrays["a"]
    del got, block
    inlet.release()
    over(ends, inlet, 1)
    assert arena.free_bytes < before - BIG  # acknowledged, but looked at
    assert (array == 5).all()
    del array
    until(lambda: inlet.receive() or ends.outlet.pump() or arena.free_bytes == before, "all memory to come back")


def test_a_room_may_be_offered_again_and_again(ends: Ends) -> None:
    inlet, arena = joined(ends), arena_of(ends)
    before = arena.free_bytes
    ready = written(ends, 9)
    for number in range(30):
        block = Result(numbered(number).header, ready.arrays)
        until(lambda block=block: ends.outlet.pump() or ends.outlet.offer(block, encode(block)), "credit")
        assert (taken(ends, inlet).arrays["a"] == 9).all()
        inlet.release()
    over(ends, inlet, 30)
    del ready, block
    until(lambda: inlet.receive() or ends.outlet.pump() or arena.free_bytes == before, "all memory to come back")


def test_two_links_look_at_one_room(make_kind: Callable[[Kind], Make]) -> None:
    one, two = (make_kind("shm")("block", 4 * BIG, 1) for _ in range(2))
    first, second = joined(one), joined(two)
    block = written(one, 6)
    parts, before = encode(block), arena_of(two).free_bytes
    assert one.outlet.offer(block, parts)
    assert two.outlet.offer(block, parts)
    assert before - arena_of(two).free_bytes < 2000
    del block, parts
    gotten = [taken(ends, inlet) for ends, inlet in ((one, first), (two, second))]
    assert all((got.arrays["a"] == 6).all() for got in gotten)
    gotten.pop(0)
    first.release()
    over(one, first, 1)
    assert (gotten[0].arrays["a"] == 6).all()
    gotten.clear()
    second.release()
    over(two, second, 1)


@pytest.mark.parametrize("leave", [True, False])
def test_nothing_is_written_where_a_receiver_that_is_gone_may_look(make_kind: Callable[[Kind], Make],
                                                                   leave: bool) -> None:
    one, two = (make_kind("shm")("block", 4 * BIG, 1) for _ in range(2))
    second, arena = joined(two), arena_of(one)
    block = written(one, 6)  # of a link that has no receiver, so that only the other one can tell
    assert two.outlet.offer(block, encode(block))
    got = taken(two, second)
    (second.leave if leave else second.abandon)()
    until(lambda: two.outlet.pump() or not two.outlet.receivers, "the loss")
    two.outlet.detach("nobody is left")
    del block
    gc.collect()
    for number in range(8):
        other = written(one, number)
        assert place_of(other.arrays["a"]) is None or place_of(other.arrays["a"])[0] is not arena  # type: ignore[index]
    assert (got.arrays["a"] == 6).all()


def test_no_room_is_ordinary_memory(ends: Ends) -> None:
    kept = [ends.outlet.room((BIG,), np.uint8) for _ in range(10)]
    assert place_of(kept[0]) is not None
    assert place_of(kept[-1]) is None
    assert ends.outlet.room((0, 3), np.float32).shape == (0, 3)
    lawful(ends)


def test_a_room_outlives_its_arena() -> None:
    arena = Arena(1 << 16)
    room = arena.room((100,), np.dtype(np.float64))
    assert room is not None
    arena.close()
    room[:] = 4.0
    assert room.sum() == 400.0
