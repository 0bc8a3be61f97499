"""The promises of every kind of link, tested on each kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from camlink.block import Header, Result, Scan
from camlink.carry.envelope import encode
from camlink.carry.link import Inlet, Outlet, Policy
from camlink.carry.memory import MemoryLink
from camlink.carry.zmq import ZmqInlet, ZmqOutlet

SCAN = Scan(id="s", expected=3, shape=(4, 4), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800.0,
            span_m=(0, 0, 1e-6, 1e-6))
NBYTES = 1000


class Pair(NamedTuple):
    outlet: Outlet
    inlet: Inlet


Make = Callable[..., Pair]


def block(number: int, nbytes: int = NBYTES) -> Result:
    header = Header(scan=SCAN, made_s=time.time(), sequence=number)
    return Result(header, {"a": np.full(nbytes, number % 256, np.uint8)})


def offer(pair: Pair, number: int, nbytes: int = NBYTES) -> bool:
    b = block(number, nbytes)
    return pair.outlet.offer(b, encode(b))


def until(true: Callable[[], object], what: str) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.001)
    pytest.fail(f"waited 2 s for {what}")


def receive(pair: Pair) -> int | None:
    for _ in range(50):
        pair.outlet.pump()
        found = pair.inlet.receive()
        if found is not None:
            return found.header.sequence
        time.sleep(0.001)
    return None


@pytest.fixture(params=["memory", "zmq"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    context = zmq.Context()
    made: list[Pair] = []

    def build(policy: Policy = "block", limit_bytes: int = 4 * NBYTES) -> Pair:
        if request.param == "memory":
            link = MemoryLink(policy, limit_bytes)
            pair = Pair(link.outlet, link.inlet)
        else:
            outlet = ZmqOutlet(context, f"inproc://{len(made)}", "l", policy=policy, limit_bytes=limit_bytes)
            pair = Pair(outlet, ZmqInlet(context, outlet.address, "l"))
        made.append(pair)

        def ready() -> bool:
            pair.outlet.pump()
            return pair.outlet.ready

        until(ready, "both ends")
        return pair

    yield build
    for pair in made:
        pair.inlet.abandon()
        pair.outlet.close()
    context.destroy(linger=0)


def test_blocks_arrive_in_order_and_are_accounted(make: Make) -> None:
    pair = make()
    assert [offer(pair, n) for n in range(3)] == [True] * 3
    assert [receive(pair) for _ in range(4)] == [0, 1, 2, None]
    assert pair.outlet.account.snapshot().in_flight == 3
    pair.inlet.release()
    until(lambda: pair.outlet.pump() or pair.outlet.account.acknowledged == 3, "credit")
    assert pair.outlet.account.snapshot().in_flight == 0


def test_a_full_lossless_link_says_no_until_credit_comes_back(make: Make) -> None:
    pair = make()
    assert [offer(pair, n) for n in range(5)] == [True] * 4 + [False]
    assert receive(pair) == 0
    assert not offer(pair, 4)  # taken is not released
    pair.inlet.release()
    until(lambda: offer(pair, 4), "credit")
    assert pair.outlet.account.peak_queue_bytes == 4 * NBYTES


def test_a_block_beyond_the_limit_passes_an_idle_link(make: Make) -> None:
    pair = make(limit_bytes=10)
    assert offer(pair, 0)
    assert not offer(pair, 1)
    assert receive(pair) == 0


def test_latest_keeps_the_newest_and_counts_the_rest(make: Make) -> None:
    pair = make("latest")
    assert all(offer(pair, n) for n in range(10))
    got: list[int] = []
    while 9 not in got:
        number = receive(pair)
        assert number is not None
        got.append(number)
        pair.inlet.release()
    account = pair.outlet.account
    assert account.sent + account.dropped["latest"] == 10
    assert account.sent == len(got)


def test_the_end_is_a_message_that_is_acknowledged(make: Make) -> None:
    pair = make()
    offer(pair, 0)
    pair.outlet.finish()
    assert not pair.inlet.ended
    assert receive(pair) == 0
    assert receive(pair) is None
    assert pair.inlet.ended
    assert not pair.outlet.finished
    pair.inlet.close()
    until(lambda: pair.outlet.pump() or pair.outlet.finished, "the end")
    assert pair.outlet.account.snapshot().in_flight == 0


def test_the_last_block_of_latest_is_delivered_before_the_end(make: Make) -> None:
    pair = make("latest")
    for n in range(5):
        offer(pair, n)
    pair.outlet.finish()
    got = []
    while not pair.inlet.ended:
        number = receive(pair)
        if number is not None:
            got.append(number)
            pair.inlet.release()
    assert got[-1] == 4


def test_detached_blocks_are_lost_with_the_reason(make: Make) -> None:
    pair = make()
    offer(pair, 0)
    pair.outlet.detach("solver died")
    assert offer(pair, 1)
    pair.outlet.finish()
    assert pair.outlet.finished
    snapshot = pair.outlet.account.snapshot()
    assert (snapshot.sent, snapshot.lost, snapshot.in_flight) == (2, {"solver died": 2}, 0)


def test_a_cut_stream_still_gives_what_was_sent(make: Make) -> None:
    pair = make()
    offer(pair, 0)
    pair.inlet.cut()
    assert receive(pair) == 0
    until(lambda: pair.inlet.receive() is None and pair.inlet.ended, "the end")


def test_the_age_of_blocks_is_kept(make: Make) -> None:
    pair = make()
    b = block(0)
    old = Result(Header(scan=SCAN, made_s=time.time() - 1.0), b.arrays)
    pair.outlet.offer(old, encode(old))
    receive(pair)
    snapshot = pair.inlet.account.snapshot()
    assert 1000 <= snapshot.age_ms(0.5) <= 1300
    assert snapshot.max_age_s >= 1.0


def test_garbage_on_the_socket_is_counted_and_the_link_goes_on() -> None:
    context = zmq.Context()
    outlet = ZmqOutlet(context, "inproc://g", "l", limit_bytes=4 * NBYTES)
    rogue = context.socket(zmq.DEALER)
    rogue.connect("inproc://g")
    for junk in (b"", b"Zjunk", b"Hwrong", b"C" + b"\xff" * 24, b"F"):
        rogue.send(junk)
    rogue.send_multipart([b"C", b"x", b"y"])
    pair = Pair(outlet, ZmqInlet(context, "inproc://g", "l"))
    until(lambda: outlet.pump() or outlet.ready, "hello")
    assert outlet.account.refused == 6
    assert offer(pair, 1)
    assert receive(pair) == 1
    rogue.close()
    pair.inlet.close()
    outlet.close()
    context.destroy(linger=0)


class Law(RuleBasedStateMachine):
    """In any order of events: sent = acknowledged + lost + in flight, order is kept, memory is bounded."""

    policy: Policy = "block"

    def __init__(self) -> None:
        super().__init__()
        link = MemoryLink(self.policy, 4 * NBYTES)
        self.pair = Pair(link.outlet, link.inlet)
        self.offered = self.refused = 0
        self.got: list[int] = []

    @rule(nbytes=st.sampled_from([100, NBYTES, 3 * NBYTES]))
    def offer(self, nbytes: int) -> None:
        if offer(self.pair, self.offered, nbytes):
            self.offered += 1

    @rule()
    def take(self) -> None:
        found = self.pair.inlet.receive()
        if found is not None:
            self.got.append(found.header.sequence)

    @rule()
    def release(self) -> None:
        self.pair.inlet.release()

    @invariant()
    def law(self) -> None:
        s = self.pair.outlet.account.snapshot()
        waiting = self.offered - s.sent - sum(s.dropped.values())
        assert s.sent == s.acknowledged + s.in_flight
        assert 0 <= waiting <= (1 if self.policy == "latest" else 0)
        assert self.got == sorted(set(self.got))
        assert s.queue_bytes <= 4 * NBYTES or self.policy == "latest"

    def teardown(self) -> None:
        self.pair.inlet.abandon()
        self.pair.outlet.close()


class LatestLaw(Law):
    policy = "latest"


TestLaw = Law.TestCase
TestLatestLaw = LatestLaw.TestCase
TestLaw.settings = TestLatestLaw.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
