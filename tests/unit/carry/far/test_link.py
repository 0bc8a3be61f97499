"""Links between machines keep the promises of every link, and let in nobody but their own."""

import contextlib
import socket
import time

import msgspec
import pytest
import zmq

from camlink import clock
from camlink.carry.envelope import encode
from camlink.carry.far.admission import Admission, as_client, as_server
from camlink.carry.far.door import GONE
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.zmq import HELLO, write_hello
from camlink.errors import InputError
from camlink.testing.ends import PATIENCE_S, Ends, joined, numbered, offer, receive, until
from camlink.testing.hostile import PAYLOADS
from camlink.testing.link import LINK_CHECKS

ROLES = {SENDER: [RECEIVER], RECEIVER: [SENDER]}


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def keys():
    return make_keys("run", ROLES)


@pytest.fixture
def make(context, keys):
    with contextlib.ExitStack() as stack:
        admission = Admission(context)
        stack.callback(admission.close)

        def build(policy, limit_bytes, receivers):
            outlet = FarOutlet(context, "tcp://127.0.0.1:*", "a->b", keys[SENDER], admission, receivers=receivers,
                               policy=policy, limit_bytes=limit_bytes)
            stack.callback(outlet.close)
            inlets = []

            def join(name, attempt):
                inlets.append(FarInlet(context, outlet.address, "a->b", keys[RECEIVER], name, attempt))
                stack.callback(inlets[-1].abandon)
                return inlets[-1]

            return Ends(outlet, join)

        build.admission = admission
        yield build


@pytest.mark.parametrize("check", LINK_CHECKS.values(), ids=LINK_CHECKS)
def test_an_encrypted_link_is_a_link(make, check):
    check(make)


STRANGERS = {
    "another run": lambda keys: make_keys("other", ROLES)[RECEIVER],
    "another role": lambda keys: make_keys("run", {**ROLES, "viewer": [SENDER]})["viewer"],
    "the sender itself": lambda keys: keys[SENDER],
}


def whys(ends):
    told = ends.outlet.account.snapshot().turned_away
    assert {who.partition(": ")[0] for who in told} <= {"127.0.0.1", GONE}
    return {who.partition(": ")[2] for who in told}


@pytest.mark.parametrize("who", STRANGERS)
def test_a_key_that_is_not_pinned_gets_nothing(context, keys, make, who):
    ends = make("block", 10_000, 1)
    stranger = STRANGERS[who](keys)
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_serverkey = keys[RECEIVER].pin(SENDER)  # it even knows whom it talks to
    dealer.curve_publickey, dealer.curve_secretkey = stranger.public.encode(), stranger.secret.encode()
    dealer.connect(ends.outlet.address)
    dealer.send(HELLO + write_hello("a->b", "thief", 0))
    until(lambda: make.admission.refused > 0, "the refusal")
    ends.outlet.pump()
    assert ends.outlet.receivers == ()
    inlet = joined(ends)
    assert offer(ends, 0)
    assert receive(ends, inlet, PATIENCE_S) == 0
    assert dealer.poll(50) == 0
    dealer.close()
    ends.outlet.close()
    assert whys(ends) == {"its key is not known here, or its time is over"}


def test_a_client_without_keys_or_for_another_server_gets_nothing(context, keys, make):
    ends = make("block", 10_000, 1)
    plain = context.socket(zmq.DEALER)
    plain.linger = 0
    plain.connect(ends.outlet.address)
    plain.send(HELLO + write_hello("a->b", "thief", 0))
    other = make_keys("run", ROLES)
    wrong = FarInlet(context, ends.outlet.address, "a->b", other[RECEIVER], "thief")
    until(lambda: (ends.outlet.pump(), whys(ends))[1], "somebody is turned away")
    assert ends.outlet.receivers == ()
    plain.close()
    wrong.abandon()
    assert receive(ends, joined(ends)) is None
    assert ends.outlet.account.refused == 0  # nothing of it reached the link
    ends.outlet.close()
    assert whys(ends) <= {"it took us for another, or speaks without a key", "it broke off, or was silent"}


def test_keys_that_are_over_admit_nobody_until_they_are_renewed(context, keys):
    now = [time.time()]
    admission = Admission(context, clock=lambda: now[0])
    outlet = FarOutlet(context, "tcp://127.0.0.1:*", "l", keys[SENDER], admission)
    now[0] += 25 * 3600
    inlet = FarInlet(context, outlet.address, "l", keys[RECEIVER], "late")
    until(lambda: admission.refused > 0, "the refusal")
    outlet.pump()
    assert outlet.receivers == ()
    inlet.abandon()
    admission.renew(msgspec.structs.replace(keys[SENDER], until_s=now[0] + 60), RECEIVER)
    inlet = FarInlet(context, outlet.address, "l", keys[RECEIVER], "in time")
    until(lambda: (outlet.pump(), inlet.pump(), outlet.ready)[2], "the hello")
    inlet.abandon()
    outlet.close()
    admission.close()


def test_without_an_admission_everybody_is_refused(context, keys):
    router = context.socket(zmq.ROUTER)
    as_server(keys[SENDER], "alone")(router)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer = context.socket(zmq.DEALER)
    as_client(keys[RECEIVER], SENDER)(dealer)
    dealer.linger = 0
    dealer.connect(f"tcp://127.0.0.1:{port}")
    dealer.send(b"x")
    assert router.poll(300) == 0
    dealer.close()
    router.close()


def test_the_life_of_keys_is_told_by_the_clock_of_the_run(context, monkeypatch):
    monkeypatch.setattr(clock, "_origin_s", clock._origin_s - 2 * 86_400)  # the wall clock was set forward since
    keys = make_keys("run", ROLES)
    admission = Admission(context)
    outlet = FarOutlet(context, "tcp://127.0.0.1:*", "l", keys[SENDER], admission)
    inlet = FarInlet(context, outlet.address, "l", keys[RECEIVER], "in time")
    until(lambda: outlet.pump() or outlet.receivers or admission.refused, "the answer")
    inlet.abandon()
    outlet.close()
    admission.close()
    assert admission.refused == 0


def test_one_context_has_one_admission(context, make):
    with pytest.raises(InputError, match="already"):
        Admission(context)


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_garbage_on_the_port_reaches_nobody(make, name):
    ends = make("block", 10_000, 1)
    host, port = ends.outlet.address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as dialled, contextlib.suppress(OSError):
        dialled.sendall(PAYLOADS[name] * 10)
    inlet = joined(ends)
    assert offer(ends, 3)
    assert receive(ends, inlet, PATIENCE_S) == 3
    assert ends.outlet.account.refused == 0


def test_no_plain_byte_is_on_the_wire(make, context, keys):
    """A block of a known pattern goes through a tap that keeps every byte."""
    import threading

    ends = make("block", 1 << 22, 1)
    host, port = ends.outlet.address.removeprefix("tcp://").split(":")
    seen = bytearray()
    tap = socket.create_server(("127.0.0.1", 0))

    def serve():
        near, _ = tap.accept()
        far = socket.create_connection((host, int(port)))

        def pump(a, b):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    seen.extend(data)
                    b.sendall(data)

        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)
        far.shutdown(socket.SHUT_RDWR)
        back.join(5)
        near.close()
        far.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    inlet = FarInlet(context, f"tcp://127.0.0.1:{tap.getsockname()[1]}", "a->b", keys[RECEIVER], "b")
    until(lambda: (ends.outlet.pump(), "b" in ends.outlet.receivers)[1], "hello")
    block = numbered(7, 100_000)
    ends.outlet.offer(block, encode(block))
    assert receive(ends, inlet, 5) == 7
    inlet.abandon()
    thread.join(5)
    tap.close()
    assert len(seen) > 100_000
    assert b"\x07" * 8 not in seen
    assert b"a->b" not in seen
    assert b"CURVE" in seen
