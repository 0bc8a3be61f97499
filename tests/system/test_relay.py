"""The relay with real sockets: links through it keep every promise, survive its end, and show it nothing."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from camlink.carry.envelope import encode
from camlink.carry.far.admission import Admission
from camlink.carry.far.gate import CallGate, OfferGate
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.far.relay import MOST_STRANGERS, Relay
from camlink.carry.far.ticket import ASKING_BYTES, GREETING_BYTES, RelayKey, Ticket
from camlink.errors import WireError
from camlink.testing.ends import PATIENCE_S, Ends, joined, numbered, offer, receive, until
from camlink.testing.hostile import PAYLOADS
from camlink.testing.link import LINK_CHECKS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
KEY = RelayKey(b"k" * 32)


class Running:
    """A relay in a thread; it can be ended and started again at its port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self.relay = Relay(KEY, port=self.port)
        self.port = int(self.relay.address.rpartition(":")[2])
        self.thread = threading.Thread(target=self.relay.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.relay.close()
        self.thread.join(5)
        assert not self.thread.is_alive()

    def ticket(self, may: Any, run: str = "r1") -> Ticket:
        return KEY.ticket(self.relay.address, run, may, 600)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def refused(self, reason: str) -> int:
        return sum(told.count for told in self.relay.refusals.news(last=True) if told.reason == reason)


@pytest.fixture
def relay() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


@pytest.fixture
def make(relay: Running, tmp_path: Path) -> Iterator[Any]:
    """Links through the relay, each on a lane of its own."""
    context = zmq.Context()
    keys = make_keys("run", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    with contextlib.ExitStack() as stack:
        stack.callback(context.destroy, linger=0)
        admission = Admission(context)
        stack.callback(admission.close)
        lanes = iter(range(1000))

        def build(policy: str, limit_bytes: int, receivers: int) -> Ends:
            lane = f"lane{next(lanes)}"
            outlet = FarOutlet(context, f"ipc://{tmp_path}/{lane}-out", "a->b", keys[SENDER], admission,
                               receivers=receivers, policy=policy, limit_bytes=limit_bytes)
            stack.callback(outlet.close)
            stack.enter_context(OfferGate(relay.ticket("offer"), lane, f"{tmp_path}/{lane}-out"))
            gate = stack.enter_context(CallGate(relay.ticket("call"), lane, tmp_path / f"{lane}-in"))

            def join(name: str, attempt: int) -> FarInlet:
                inlet = FarInlet(context, f"ipc://{gate.path}", "a->b", keys[RECEIVER], name, attempt)
                stack.callback(inlet.abandon)
                return inlet

            return Ends(outlet, join)

        yield build


HERE = {name: check for name, check in LINK_CHECKS.items() if name != "closed"}  # gates stay open behind closed ends


@pytest.mark.parametrize("check", HERE.values(), ids=HERE)
def test_a_link_through_the_relay_is_a_link(make: Any, check: Callable[[Any], None]) -> None:
    check(make)


def stream(ends: Ends, blocks: int, disturb: Callable[[int], None]) -> list[int]:
    """Send `blocks` blocks and take them, with the disturbance in between; what arrived, in order."""
    inlet, got, sent = joined(ends), [], 0
    deadline = time.monotonic() + 60
    while len(got) < blocks:
        assert time.monotonic() < deadline, f"{len(got)} of {blocks} arrived"
        if sent < blocks and offer(ends, sent, 20_000):
            sent += 1
        number = receive(ends, inlet, 0.002)
        if number is not None:
            got.append(number)
            disturb(len(got))
            if len(got) % 3 == 0:
                inlet.release()
    inlet.release()
    until(lambda: (ends.outlet.pump(), receive(ends, inlet, 0), ends.outlet.account.kept == 0)[2], "acknowledgements")
    assert ends.outlet.account.snapshot().fault() == ""
    assert ends.outlet.account.lost == {}
    return got


def test_nothing_is_lost_or_doubled_when_the_relay_is_restarted(make: Any, relay: Running) -> None:
    def restart(arrived: int) -> None:
        if arrived in (20, 60, 61, 150):
            relay.stop()
            relay.start()

    got = stream(make("block", 400_000, 1), 200, restart)
    assert sorted(got) == list(range(200))


def test_a_relay_that_starts_late_is_found(make: Any, relay: Running) -> None:
    relay.stop()
    ends = make("block", 400_000, 1)
    inlet = ends.join("late", 0)
    time.sleep(0.5)
    assert ends.outlet.receivers == ()
    relay.start()
    until(lambda: (ends.outlet.pump(), ends.outlet.receivers)[1], "the hello")
    assert offer(ends, 5)
    assert receive(ends, inlet, PATIENCE_S) == 5


class Wire:
    """A stretch of wire before the relay: it can go silent without a word, be tapped, and be recorded."""

    def __init__(self, port: int) -> None:
        self.port, self.silent, self.seen = port, threading.Event(), bytearray()
        self.sent: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self._ends += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(a, b, a is near), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                while self.silent.is_set():
                    time.sleep(0.05)
                self.seen += data
                if outward:
                    self.sent.append(data)
                b.sendall(data)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._server, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
            end.close()


@contextlib.contextmanager
def tapped(relay: Running, folder: Path) -> Iterator[tuple[Wire, FarOutlet, Any, list[bytes]]]:
    """An outlet behind the relay, with a wire before its inlets; what makes those, and the secrets of both."""
    wire, context = Wire(relay.port), zmq.Context()
    keys = make_keys("run", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    admission = Admission(context)
    outlet = FarOutlet(context, f"ipc://{folder}/out", "a->b", keys[SENDER], admission, limit_bytes=400_000)
    ticket = KEY.ticket(wire.address, "r1", "call", 600)
    with (OfferGate(relay.ticket("offer"), "lane", f"{folder}/out"), CallGate(ticket, "lane", folder / "in") as gate):
        yield (wire, outlet, lambda name, attempt: FarInlet(context, f"ipc://{gate.path}", "a->b", keys[RECEIVER], name,
                                                            attempt),
               [bytes.fromhex(ticket.secret), keys[SENDER].secret.encode()])
    outlet.close()
    admission.close()
    context.destroy(linger=0)
    wire.close()


def test_a_wire_that_goes_silent_for_ten_seconds_loses_nothing(relay: Running, tmp_path: Path) -> None:
    with tapped(relay, tmp_path) as (wire, outlet, make, _):
        made: list[FarInlet] = []

        def join(name: str, attempt: int) -> FarInlet:
            made.append(make(name, attempt))
            return made[-1]

        def disturb(arrived: int) -> None:
            if arrived == 30:
                wire.silent.set()
                threading.Timer(10, wire.silent.clear).start()

        got = stream(Ends(outlet, join), 100, disturb)
        made[0].abandon()
    assert sorted(got) == list(range(100))


def test_the_relay_sees_no_data_and_a_recording_is_worthless(relay: Running, tmp_path: Path) -> None:
    with tapped(relay, tmp_path) as (wire, outlet, make, secrets):
        inlet = make("b", 0)
        until(lambda: (outlet.pump(), outlet.ready)[1], "hello")
        block = numbered(7, 100_000)
        outlet.offer(block, encode(block))
        assert receive(Ends(outlet, lambda name, attempt: inlet), inlet, PATIENCE_S) == 7
        inlet.release()
        inlet.abandon()
        recorded = b"".join(wire.sent)
        assert len(wire.seen) > 100_000
        for plain in (b"\x07" * 8, b"a->b", *secrets):
            assert plain not in wire.seen
        before = outlet.account.snapshot()
        with relay.dial() as dialled:  # the same bytes again, from another place
            dialled.recv(GREETING_BYTES)
            dialled.sendall(recorded)
            with contextlib.suppress(ConnectionResetError):
                assert dialled.recv(10) == b""
        assert relay.refused("a wrong ticket, or none") == 1
        outlet.pump()
        assert outlet.account.snapshot().refused == before.refused


def test_recorded_data_inside_of_a_good_lane_is_refused_by_the_end(relay: Running, tmp_path: Path) -> None:
    """Somebody with a ticket, but without a key, plays what he overheard of a whole conversation to the outlet."""
    context = zmq.Context()
    keys = make_keys("run", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    admission = Admission(context)
    outlet = FarOutlet(context, "tcp://127.0.0.1:*", "a->b", keys[SENDER], admission, limit_bytes=400_000)
    wire = Wire(int(outlet.address.rpartition(":")[2]))
    inlet = FarInlet(context, f"tcp://{wire.address}", "a->b", keys[RECEIVER], "b")
    until(lambda: (outlet.pump(), outlet.ready)[1], "hello")
    inlet.leave()
    until(lambda: (outlet.pump(), not outlet.receivers)[1], "farewell")
    with OfferGate(relay.ticket("offer"), "lane", outlet.address.removeprefix("tcp://")):
        far = call(relay, "lane")
        far.sendall(b"".join(wire.sent))
        time.sleep(0.5)
        outlet.pump()
        assert outlet.receivers == ()
        assert outlet.account.refused == 0
        far.close()
    outlet.close()
    admission.close()
    context.destroy(linger=0)
    wire.close()


def call(relay: Running, lane: str, may: Any = "call") -> socket.socket:
    dialled = relay.dial()
    dialled.sendall(relay.ticket(may).answer(dialled.recv(GREETING_BYTES), lane))
    assert dialled.recv(1) in (b"+", b"G")
    return dialled


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_garbage_is_refused_and_the_relay_goes_on(relay: Running, name: str) -> None:
    with relay.dial() as dialled:
        dialled.recv(GREETING_BYTES)
        dialled.sendall(PAYLOADS[name].ljust(ASKING_BYTES, b"."))
        with contextlib.suppress(ConnectionResetError):
            assert dialled.recv(10) == b""
    assert relay.relay.facts["refused"] == 1
    with call(relay, "x", "offer"), call(relay, "x"):
        pass


def test_tickets_of_others_do_not_meet(relay: Running) -> None:
    with call(relay, "x", "offer"), relay.dial() as other:
        other.sendall(relay.ticket("call", run="r2").answer(other.recv(GREETING_BYTES), "x"))
        assert other.recv(1) == b"+"  # it waits for its own run, in which nobody offers
        with pytest.raises(WireError):
            RelayKey(b"o" * 32).check(b"", bytes(ASKING_BYTES))


def test_who_speaks_before_it_is_joined_is_dropped(relay: Running) -> None:
    with call(relay, "x", "offer") as eager:
        eager.sendall(b"hello?")
        with contextlib.suppress(ConnectionResetError):
            assert eager.recv(10) == b""
    assert relay.refused("spoke before it was joined") == 1


def test_a_thousand_silent_connections_keep_nobody_out(relay: Running, make: Any) -> None:
    ends = make("block", 400_000, 1)
    inlet = joined(ends)
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(relay.dial())
        assert offer(ends, 1)
        assert receive(ends, inlet, PATIENCE_S) == 1
        with call(relay, "y", "offer"):
            pass
        assert relay.relay.facts["refused"] >= 1000 - MOST_STRANGERS


def test_waiting_is_bounded(relay: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(call(relay, "x", "offer"))
        with relay.dial() as one_more:
            one_more.sendall(relay.ticket("offer").answer(one_more.recv(GREETING_BYTES), "x"))
            assert one_more.recv(1) == b""
    assert relay.refused("too many wait already") == 1


def test_a_slow_reader_holds_its_writer_back(relay: Running) -> None:
    with call(relay, "x", "offer") as a, call(relay, "x") as b:
        a.recv(1)
        a.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 30:
                sent += a.send(bytes(1 << 16))
        assert sent < 64 << 20  # buffers of the kernel and one pipe, not the memory of the relay
        b.settimeout(5)
        got = 0
        while got < sent:
            got += len(b.recv(1 << 20))
        assert got == sent
        a.close()
        assert b.recv(1) == b""


def test_the_command_keeps_its_secret_in_a_file(tmp_path: Path) -> None:
    key = tmp_path / "relay.key"
    words = [sys.executable, "-m", "camlink", "relay", str(key)]
    served = subprocess.Popen([*words, "--new-key"], stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        address = served.stdout.readline().split()[1]
        ticket = RelayKey.read(key).ticket(address, "r1", "offer", 60)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as dialled:
            dialled.sendall(ticket.answer(dialled.recv(GREETING_BYTES), "x"))
            assert dialled.recv(1) == b"+"
        secret = key.read_text().strip()
        assert secret not in Path(f"/proc/{served.pid}/cmdline").read_text()
        again = subprocess.run([*words, "--new-key"], capture_output=True, text=True, timeout=30)
        assert (again.returncode, "never overwritten" in again.stderr) == (2, True)
    finally:
        served.send_signal(signal.SIGTERM)
        said, _ = served.communicate(timeout=10)
    assert served.returncode == 0
    assert "'refused': 0" in said
    assert secret not in said
