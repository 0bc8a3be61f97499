from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from camlink.block import Block, CountFrames, Frames, Header, RawFrames, Result
from camlink.carry.memory import MemoryLink
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.errors import WireError
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.flow import Inbox, Outbox
from camlink.runtime.work.joined import Joined, joined
from camlink.runtime.work.porter import Porter
from camlink.testing.ends import until
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.join import Join
from camlink.workflow.port import Port

SCAN = toy_scan(100)


class Bench:
    """Two branches of memory links with a Joined at their end, and a clock that is set by hand."""

    def __init__(self, folder: Path, join: Join, *, optional: bool = False) -> None:
        spec = WorkerSpec(operator="pair", replica=0, where="m:f", kind="transform", parameters={}, inputs=(),
                          outputs=(), folder=str(folder), sockets=str(folder), provenance={})
        self.now_s = 0.0
        self.links = {name: MemoryLink() for name in ("left", "right")}
        self.outboxes = {name: Outbox(name, [link.outlet], lambda: None) for name, link in self.links.items()}
        porters = {name: Porter(spec, name, None, once=True, kept="all") for name in self.links}
        inboxes = {name: Inbox(porters[name], self.tick) for name in self.links}
        for name, link in self.links.items():
            inboxes[name].add(link.inlet)
        ports = [Port("left", CountFrames), Port("right", CountFrames, optional=optional)]
        self.joined = Joined(join, ports, inboxes, porters, lambda: self.now_s)

    def tick(self) -> None:
        self.now_s += 10.0
        for outbox in self.outboxes.values():
            outbox.pump()

    def send(self, name: str, *firsts: int, count: int = 1) -> None:
        for first in firsts:
            self.outboxes[name].send(toy_frames(SCAN, first, count))

    def end(self, *names: str) -> None:
        for name in names:
            self.links[name].outlet.finish()


def rows(given: dict[str, Frames | None]) -> tuple[list[int] | None, ...]:
    return tuple(None if block is None else block.index.tolist() for block in given.values())


def test_blocks_of_any_size_meet_frame_by_frame_without_a_copy(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame", 16))
    bench.send("left", 0, count=6)
    bench.send("right", 0, count=2)
    bench.send("right", 4, 2, count=2)
    bench.end("left", "right")
    found = list(bench.joined)
    assert [rows(given) for given in found] == [([0, 1], [0, 1]), ([4, 5], [4, 5]), ([2, 3], [2, 3])]
    left = [given["left"] for given in found if given["left"] is not None]
    assert left[0].frames.base is not None
    assert np.shares_memory(left[0].frames, left[1].frames.base)
    assert bench.joined.facts() == {"joined": 6}


def test_the_leader_is_not_taken_from_beyond_the_skew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame", 4))
    bench.send("left", *range(20))
    bench.send("right", 0, 1)
    given = iter(bench.joined)
    assert [rows(next(given)) for _ in range(2)] == [([0], [0]), ([1], [1])]
    bench.outboxes["left"].pump()
    assert bench.links["left"].outlet.account.acknowledged <= 2 + 4
    bench.send("right", *range(2, 20))
    bench.end("left", "right")
    assert [rows(more) for more in given] == [([n], [n]) for n in range(2, 20)]


def test_what_was_taken_of_a_leader_is_acknowledged_while_it_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame", 4))
    context: zmq.Context[Any] = zmq.Context()
    try:
        outlet = ZmqOutlet(context, "inproc://left", "l")
        bench.joined._inboxes["left"].add(ZmqInlet(context, "inproc://left", "l"))
        until(lambda: outlet.pump() or outlet.ready, "the hello")
        for first in range(4):
            Outbox("left", [outlet], lambda: None, first).send(toy_frames(SCAN, first, 1))
        for _ in range(4):
            until(lambda: bench.joined._take("left"), "a frame")
        bench.joined._rest()  # for the other branch
        until(lambda: outlet.pump() or outlet.account.acknowledged == 4, "the answers")
    finally:
        context.destroy(linger=0)


def test_an_input_that_may_miss_is_none_and_the_others_carry_the_flag(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame"), optional=True)
    bench.send("left", 0, 1)
    bench.send("right", 1, 2)
    bench.end("left", "right")
    found = list(bench.joined)
    assert sorted(rows(given) for given in found if given["right"] is None) == [([0], None)]
    (flagged,) = (given["left"] for given in found if given["right"] is None)
    assert flagged is not None
    assert flagged.header.facts["missing"] == "right"
    assert ([1], [1]) in map(rows, found)
    assert len(found) == 2  # frame 2 has nothing on the left, which has to be there
    assert bench.joined.facts() == {"joined": 1, "incomplete": {"left": 1, "right": 1}, "warnings": [
        "1 meetings without left were set aside", "1 meetings without right"]}


def test_a_branch_that_is_silent_for_too_long_is_left_behind_and_told_of(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame", 2, wait_s=30.0), optional=True)
    bench.send("left", *range(5))
    given = iter(bench.joined)
    assert rows(next(given)) == ([0], None)
    assert bench.now_s > 30
    bench.send("right", 0)
    bench.end("left", "right")
    assert [rows(more) for more in given] == [([n], None) for n in range(1, 5)]
    assert bench.joined.facts()["late"] == {"right": 1}


def test_all_exposures_of_a_point_meet(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("point"))
    two = toy_frames(SCAN, 0, 4)
    arrays = {**two.arrays, "point": np.array([0, 0, 1, 1])}
    bench.outboxes["left"].send(RawFrames(two.header, {**arrays}).rows([0, 2]))
    bench.outboxes["left"].send(RawFrames(two.header, {**arrays}).rows([1, 3]))
    bench.send("right", 0, 1)
    bench.end("left", "right")
    assert [rows(given) for given in bench.joined] == [([0, 1], [0]), ([2, 3], [1])]


def test_blocks_that_are_all_there_meet_whatever_their_order(tmp_path: Path) -> None:
    blocks = {"left": [toy_frames(SCAN, first, 1) for first in (90, 3, 0)],
              "right": [toy_frames(SCAN, 0, 4), toy_frames(SCAN, 80, 10)]}
    ports = [Port("left", CountFrames), Port("right", CountFrames, optional=True)]
    assert [rows(given) for given in joined(Join("frame", 2), ports, blocks)] == [
        ([0], [0]), ([3], [3]), ([90], None)]


def test_what_has_no_key_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Join("frame"))
    block: Block = Result(Header(scan=SCAN, made_s=0.0), {})
    bench.outboxes["left"].send(block)
    with pytest.raises(WireError, match="input left: a Result came to a join"):
        list(bench.joined)
