"""Ways to an outlet with real sockets: the best that works is taken, another when it breaks, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.envelope import encode
from camlink.carry.far.admission import Admission, as_server
from camlink.carry.far.door import GONE
from camlink.carry.far.invitation import Invitation
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.far.path import Path, Tried, Way, read_address, write_address
from camlink.carry.far.search import PROBE, QUESTION, _Trial, rate_of
from camlink.errors import InputError
from camlink.testing.ends import numbered, until

KEYS = make_keys("run", {SENDER: [RECEIVER], RECEIVER: [SENDER]})


class Wire:
    """A port that leads to another one, as a forward or a relay does: slowly, and until it is cut."""

    def __init__(self, target: str, delay_s: float = 0.0) -> None:
        self._target, self._delay_s = target.removeprefix("tcp://").split(":"), delay_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._ends.append(near)
                far = socket.create_connection((self._target[0], int(self._target[1])))
                self._ends.append(far)
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 20):
                time.sleep(self._delay_s)
                b.sendall(data)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Side:
    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        admission = Admission(self.context)
        stack.callback(admission.close)
        self.outlet = FarOutlet(self.context, "tcp://127.0.0.1:*", "a->b", KEYS[SENDER], admission, limit_bytes=400_000)
        self.direct = self.outlet.address
        stack.callback(self.outlet.close)
        self.stack = stack

    def wire(self, delay_s: float = 0.0) -> Wire:
        made = Wire(self.direct, delay_s)
        self.stack.callback(made.cut)
        return made

    def inlet(self, *ways: Way) -> FarInlet:
        inlet = FarInlet(self.context, ways, "a->b", KEYS[RECEIVER], "b")
        self.stack.callback(inlet.abandon)
        until(lambda: (self.outlet.pump(), inlet.pump(), self.outlet.ready)[2], "the hello")
        return inlet


@pytest.fixture
def side() -> Iterator[Side]:
    with contextlib.ExitStack() as stack:
        yield Side(stack)


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_the_faster_way_is_taken_and_all_are_told(side: Side) -> None:
    slow = side.wire(0.02)
    inlet = side.inlet(Way("relay", slow.endpoint), Way("direct", side.direct))
    path = inlet.account.path
    assert path is not None
    assert (path.by, path.to, path.receiver, path.chosen) == ("direct", side.direct, "b", 1)
    assert path.bytes_per_s > 0
    assert set(path.tried) == {f"direct {side.direct}", f"relay {slow.endpoint}"}
    assert inlet.account.snapshot().paths == (path,)


@pytest.mark.parametrize("blocked", ["nothing listens", "it is no address", *(
    pytest.param(how, marks=pytest.mark.slow) for how in ("no machine is there", "it hangs up", "it says nothing"))])
def test_a_way_that_does_not_work_is_passed_over(side: Side, blocked: str) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    side.stack.callback(silent.close)
    broken = side.wire()
    broken._target = ["127.0.0.1", closed_port().rpartition(":")[2]]
    endpoint = {"nothing listens": closed_port(), "it is no address": "tcp://nowhere", "no machine is there":
                "tcp://192.0.2.1:9", "it hangs up": broken.endpoint, "it says nothing": f"tcp://127.0.0.1:{silent.getsockname()[1]}"}[blocked]
    inlet = side.inlet(Way("direct", endpoint), Way("relay", side.wire().endpoint))
    assert inlet.account.path is not None
    assert inlet.account.path.by == "relay"
    assert inlet.account.path.tried[f"direct {endpoint}"] == "no answer"


def test_a_question_to_somebody_who_is_gone_again_holds_up_nobody(side: Side) -> None:
    def reach(socket: zmq.Socket[Any], way: Way) -> None:
        socket.setsockopt(zmq.SNDTIMEO, 100)
        socket.bind(way.endpoint)

    trial = _Trial(side.context, Way("direct", "tcp://127.0.0.1:*", True), reach, b"")
    trial.ask(1)
    trial.close()


def stream(side: Side, inlet: FarInlet, blocks: int, at: dict[int, Any]) -> list[int]:
    got: list[int] = []
    sent, deadline = 0, time.monotonic() + 30
    while len(got) < blocks or side.outlet.account.kept:
        assert time.monotonic() < deadline, f"{len(got)} of {blocks} arrived, {side.outlet.account.snapshot()}"
        side.outlet.pump()
        if sent < blocks:
            block = numbered(sent, 20_000)
            sent += side.outlet.offer(block, encode(block))
        if (taken := inlet.receive()) is not None:
            got.append(taken.header.sequence)
            inlet.release()
            at.get(len(got), lambda: None)()
    return got


@pytest.mark.slow
def test_when_a_way_breaks_another_is_taken_and_nothing_is_lost_or_doubled(side: Side) -> None:
    wires = {"direct": side.wire(), "relay": side.wire(0.005)}
    inlet = side.inlet(*(Way(by, wire.endpoint) for by, wire in wires.items()))
    assert inlet.account.path is not None
    first = inlet.account.path.by  # in a moment of noise it may be either
    got = stream(side, inlet, 200, {60: wires[first].cut})
    assert sorted(got) == list(range(200))
    assert inlet.account.path.chosen == 2
    assert {first, inlet.account.path.by} == set(wires)
    assert side.outlet.account.snapshot().fault() == ""
    assert side.outlet.account.lost == {}


def test_an_inlet_that_finds_no_way_can_be_closed(side: Side) -> None:
    inlet = FarInlet(side.context, [Way("direct", closed_port())], "a->b", KEYS[RECEIVER], "b")
    inlet.pump()
    inlet.leave()
    assert inlet.account.path is None


def asks(side: Side, role: str, nbytes: int) -> zmq.Socket[bytes]:
    dealer = side.context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_serverkey = KEYS[RECEIVER].pin(SENDER)
    dealer.curve_publickey, dealer.curve_secretkey = KEYS[role].public.encode(), KEYS[role].secret.encode()
    dealer.connect(side.direct)
    dealer.send(QUESTION.pack(PROBE, nbytes))
    return dealer


def test_a_stranger_cannot_ask_for_answers_and_an_answer_has_a_limit(side: Side) -> None:
    with asks(side, SENDER, 1) as stranger:
        for _ in range(20):
            side.outlet.pump()
            assert not stranger.poll(10)
    with asks(side, RECEIVER, 0xFFFFFFFF) as friend:
        until(lambda: (side.outlet.pump(), friend.poll(10))[1], "the answer")
        assert len(friend.recv()) == 1 << 20


def test_ways_are_ranked_by_what_a_block_takes() -> None:
    relay, direct, ssh = Way("relay", "r"), Way("direct", "d"), Way("ssh", "s")
    best = min([Tried(relay, 0.01, 0.001, 1e9), Tried(direct, 0.001, 0.0005, 1e7), Tried(ssh, 0.001)],
               key=lambda tried: tried.cost)
    assert best.way == relay
    assert min([Tried(relay, 0.001), Tried(direct, 0.001)], key=lambda tried: tried.cost).way == direct


def test_a_rate_is_no_difference_of_times_that_are_nearly_the_same() -> None:
    assert rate_of(1_000_000, 0.0101, 0.0001) == pytest.approx(1e8)
    assert rate_of(1_000_000, 0.0100, 0.0099) == rate_of(1_000_000, 0.0100, 0.0120) == pytest.approx(4e8)


def test_an_address_reads_as_it_was_written() -> None:
    address = write_address("camera-0-0", "/run/x.far", ["tcp://10.0.0.1:5", "tcp://[::1]:7"])
    assert read_address(address) == ("camera-0-0", "/run/x.far", ("tcp://10.0.0.1:5", "tcp://[::1]:7"))


@given(st.text(alphabet="far:/;tcpx1.", max_size=40))
def test_whatever_is_no_address_is_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        lane, path, direct = read_address(text)
        assert write_address(lane, path, direct) == text


def invited(side: Side, relay: Wire, *more: Way, host: str = "127.0.0.1") -> tuple[FarInlet, Path]:
    """An inlet that reaches its sender by a slow relay, and may be dialled."""
    inlet = FarInlet(side.context, [*more, Way("relay", relay.endpoint)], "a->b", KEYS[RECEIVER], "b",
                     listen=[host])
    side.stack.callback(inlet.abandon)
    until(lambda: (side.outlet.pump(), inlet.pump(), side.outlet.ready)[2], "the hello")
    assert inlet.account.path is not None
    return inlet, inlet.account.path


def connections(port: int) -> Iterator[socket.socket]:
    """What this process dialled at a port of its own."""
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if not os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                continue
            end = stack.enter_context(socket.socket(fileno=os.dup(int(number))))
            if end.family == socket.AF_INET and end.getpeername() == ("127.0.0.1", port):
                yield end


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def refuses(port: int) -> bool:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_sender_dials_where_nobody_can_dial_it(side: Side, host: str) -> None:
    relay = side.wire(0.02)
    inlet, path = invited(side, relay, host=host)
    assert (path.by, path.chosen) == ("direct", 1)
    assert set(path.tried) == {f"direct {path.to}, dialled by the sender", f"relay {relay.endpoint}"}
    assert path.bytes_per_s > 0
    assert stream(side, inlet, 20, {}) == list(range(20))


@pytest.mark.slow
def test_where_both_can_be_dialled_at_an_address_of_ipv6_both_ways_work(side: Side) -> None:
    _, path = invited(side, side.wire(0.02), Way("direct", side.outlet.listen("::1")), host="::1")
    assert path.by == "direct"
    assert sum(said != "no answer" for way, said in path.tried.items() if "[::1]" in way) == 2


@pytest.mark.slow
def test_nobody_listens_or_dials_but_on_the_way_that_was_taken(side: Side) -> None:
    inlet, path = invited(side, side.wire(0.02), Way("direct", side.direct))
    inward = next(way for way in path.tried if "dialled" in way).removeprefix("direct ").partition(",")[0]
    wanted = {inward} if path.to == inward else set()
    until(lambda: (side.outlet.pump(), inlet.pump(), side.outlet._dialled == wanted)[2], "only this way is there")
    if not wanted:  # the port is given back by a thread of the socket
        until(lambda: refuses(port_of(inward)), "nobody listens")


@pytest.mark.slow
def test_a_connection_that_breaks_is_made_again_and_nothing_is_lost_or_doubled(side: Side) -> None:
    inlet, path = invited(side, side.wire(0.02))
    assert path.by == "direct"

    def cut() -> None:
        for end in connections(port_of(path.to)):
            end.shutdown(socket.SHUT_RDWR)

    got = stream(side, inlet, 200, {60: cut, 120: lambda: [end.shutdown(socket.SHUT_RDWR) for end in connections(
        port_of(inlet.account.path.to if inlet.account.path else ""))]})
    assert sorted(got) == list(range(200))
    assert inlet.connections >= 2
    assert inlet.account.path is not None
    assert inlet.account.path.by == "direct"
    assert side.outlet.account.snapshot().fault() == ""
    assert side.outlet.account.lost == {}


@pytest.mark.slow
def test_strangers_at_the_port_of_a_receiver_are_counted_and_change_nothing(side: Side) -> None:
    inlet, path = invited(side, side.wire(0.02))
    other = make_keys("another", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    with side.context.socket(zmq.ROUTER) as thief, socket.create_connection(("127.0.0.1", port_of(path.to))) as noise:
        thief.linger = 0
        as_server(other[SENDER], "another")(thief)
        thief.connect(path.to)
        noise.send(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: (inlet.pump(), sum(inlet.account.turned_away.values()) >= 1)[1], "somebody is turned away")
    assert stream(side, inlet, 20, {}) == list(range(20))
    assert (inlet.connections, inlet.account.path) == (1, path)
    inlet.abandon()
    assert sum(inlet.account.turned_away.values()) >= 2
    assert {who.partition(": ")[0] for who in inlet.account.turned_away} <= {"127.0.0.1", GONE}


def test_only_the_latest_attempt_is_dialled_and_nobody_who_is_dead(side: Side) -> None:
    first, second = Invitation("b", 0, ("tcp://127.0.0.1:1",)), Invitation("b", 1, ("tcp://127.0.0.1:2",))
    for one in (first, second, first):
        side.outlet._follow(one)
    assert side.outlet._dialled == {"tcp://127.0.0.1:2"}
    side.outlet.lose("b", "killed", 0)
    assert side.outlet._dialled == {"tcp://127.0.0.1:2"}
    side.outlet.lose("b", "killed", 1)
    assert side.outlet._dialled == set()
