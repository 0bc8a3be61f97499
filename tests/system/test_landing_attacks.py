"""The port of far agents under attack: strangers are refused, and the agent of the run comes in meanwhile."""

from __future__ import annotations

import contextlib
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import zmq

from camlink.carry.far.admission import as_client
from camlink.carry.far.door import GONE, NEAR
from camlink.carry.far.keys import LIFE_S, Keys, make_keys
from camlink.clock import now_s
from camlink.runtime.messages import Beat, decode, encode
from camlink.runtime.reach.dial import AGENT, MASTER, Dial
from camlink.runtime.reach.landing import Landing
from camlink.runtime.reach.receipts import Receipts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
RAW: Final = {
    "plain-text": b"GET /agent HTTP/1.1\r\nHost: x\r\n\r\n", "zeros": bytes(4096),
    "garbage": random.Random(1).randbytes(4096),  # does not begin as a greeting
    "huge-size": b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03\x00CURVE".ljust(52, b"\0") + b"\x06" + b"\xff" * 8,
    "half-a-greeting": b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"}


def first_words() -> list[bytes]:
    """A beat, as the first that an agent says in its life."""
    return Receipts(1 + secrets.randbits(63)).say([encode(Beat(site="far", stopped=()))], 0.0)


class Port:
    """A landing with the socket of its master."""

    def __init__(self, folder: Path, life_s: float = LIFE_S) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.master = self.context.socket(zmq.ROUTER)
        self.master.bind(f"ipc://{folder}/master")
        self.keys = make_keys("r", {MASTER: [AGENT], AGENT: [MASTER]}, life_s)
        self.landing = Landing("far", f"ipc://{folder}/master", self.keys[MASTER])

    def say(self, prepare: Callable[[zmq.Socket[Any]], None] = lambda _: None) -> zmq.Socket[Any]:
        """A beat of an agent that is called as the real one."""
        agent = self.context.socket(zmq.DEALER)
        agent.setsockopt(zmq.IDENTITY, b"far")
        agent.setsockopt(zmq.LINGER, 0)
        prepare(agent)
        agent.connect(self.landing.address)
        agent.send_multipart(first_words())
        return agent

    def told(self, *reasons: str) -> None:
        """Somebody was turned away for one of these reasons, and what is told names his address."""
        deadline, said = time.monotonic() + 10, []
        while not any(why in one.reason for one in said for why in reasons) and time.monotonic() < deadline:
            said += self.landing.news(last=True)
            time.sleep(0.02)
        assert any(why in one.reason for one in said for why in reasons), said
        # its number may be that of another socket by now
        assert all(one.peer.startswith("127.0.0.1:") or one.peer in (GONE, NEAR) for one in said), said
        assert all(f"the port {self.landing.port} for the agent of 'far'" == one.where for one in said)

    def hears(self, limit_ms: int) -> bool:
        return bool(self.master.poll(limit_ms)) and isinstance(decode(self.master.recv_multipart()[-1]), Beat)


@pytest.fixture
def port(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Port]:
    made = Port(tmp_path, getattr(request, "param", LIFE_S))
    yield made
    made.landing.close()
    made.master.close(linger=0)
    made.context.term()


def dial(port: Port) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port.landing.port), 5)


def goes_on(port: Port) -> None:
    agent = port.say(as_client(port.keys[AGENT], MASTER))
    assert port.hears(10_000)
    agent.close()


def another_run() -> Keys:
    return make_keys("other", {MASTER: [AGENT], AGENT: [MASTER]})[AGENT]


def with_our_server(port: Port) -> Keys:
    """A key of another run, of one who has learnt the public key of our master."""
    other = another_run()
    return Keys(run=other.run, role=other.role, public=other.public, secret=other.secret, until_s=other.until_s,
                pins=port.keys[AGENT].pins)


@pytest.mark.parametrize("port", [60.0], indirect=True)
@pytest.mark.parametrize("heard", [True, False])
def test_the_key_of_an_agent_ends_unless_it_is_heard(port: Port, heard: bool) -> None:
    if heard:
        goes_on(port)
    port.landing._admission._clock = lambda: now_s() + 61
    late = port.say(as_client(port.keys[AGENT], MASTER))
    assert port.hears(10_000 if heard else 500) is heard
    late.close()


@pytest.mark.parametrize("name", list(RAW))
def test_raw_bytes_reach_nobody(port: Port, name: str) -> None:
    with dial(port) as stranger:
        stranger.sendall(RAW[name])
        assert not port.hears(300)
        goes_on(port)
        if name in ("plain-text", "garbage", "zeros"):
            port.told("not of this protocol")
    port.told("broke off") if name == "half-a-greeting" else None


@pytest.mark.parametrize("who", ["no key", "another run's key", "another run's key and our server"])
def test_an_agent_without_the_key_of_this_run_is_not_heard(port: Port, who: str) -> None:
    prepare = {"no key": lambda _: None, "another run's key": as_client(another_run(), MASTER),
               "another run's key and our server": as_client(with_our_server(port), MASTER)}[who]
    stranger = port.say(prepare)
    assert not port.hears(700)
    goes_on(port)
    stranger.close()
    knows_us = who == "another run's key and our server"
    port.told(*(("not known here",) if knows_us else ("without a key", "broke off")))  # the first to hang up decides


def test_a_good_session_that_is_sent_again_is_worthless(port: Port) -> None:
    """What somebody recorded of an agent's session opens nothing: the keys of a session are fresh on both sides."""
    recorded: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as tap:
        def carry() -> None:
            near, _ = tap.accept()
            with near, dial(port) as far:
                def back() -> None:
                    with contextlib.suppress(OSError):
                        while data := far.recv(65536):
                            near.sendall(data)

                threading.Thread(target=back, daemon=True).start()
                with contextlib.suppress(OSError):
                    while data := near.recv(65536):
                        recorded.append(data)
                        far.sendall(data)

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        agent = port.context.socket(zmq.DEALER)
        agent.setsockopt(zmq.IDENTITY, b"far")
        agent.setsockopt(zmq.LINGER, 0)
        as_client(port.keys[AGENT], MASTER)(agent)
        agent.connect(f"tcp://127.0.0.1:{tap.getsockname()[1]}")
        agent.send_multipart(first_words())
        assert port.hears(10_000)
        agent.close()
        thread.join(5)
    assert sum(map(len, recorded)) > 300
    with dial(port) as replayed:
        for data in recorded:
            with contextlib.suppress(OSError):
                replayed.sendall(data)
            time.sleep(0.05)
        assert not port.hears(700)
    goes_on(port)


def test_a_thousand_silent_connections_keep_nobody_out(port: Port) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(dial(port))
        goes_on(port)


@pytest.mark.full  # 8 s: until the one before finds its connection silent
def test_the_newest_agent_with_a_key_is_the_one_and_the_one_before_ends(port: Port, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        dials: list[Dial] = []
        for _ in range(2):
            dial = stack.enter_context(Dial(port.landing.address, port.keys[AGENT], tmp_path, "far"))
            agent = stack.enter_context(port.context.socket(zmq.DEALER))
            agent.setsockopt(zmq.IDENTITY, b"far")
            agent.setsockopt(zmq.LINGER, 0)
            dial.prepare(agent)
            stack.callback(dial.close)
            agent.connect(port.landing.address)
            dial.say(encode(Beat(site="far", stopped=())))
            assert port.hears(10_000)
            dials.append(dial)
        first, second = dials
        deadline = time.monotonic() + 20
        while first.tend() and time.monotonic() < deadline:
            for dial in dials:
                dial.say(encode(Beat(site="far", stopped=())), news=True)
                dial.hear()
            assert second.tend()
            time.sleep(0.05)
        assert "takes the place" in first.over
        assert not second.over
