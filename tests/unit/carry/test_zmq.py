from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from camlink.carry.zmq import ZmqInlet, ZmqOutlet, write_hello
from camlink.errors import InputError
from camlink.testing.ends import PATIENCE_S, Ends, joined, lawful, offer, receive, until
from camlink.testing.hostile import PAYLOADS


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_garbage_from_receivers_is_counted_and_the_link_goes_on(context: zmq.Context[Any]) -> None:
    outlet = ZmqOutlet(context, "inproc://g", "l")
    rogue = context.socket(zmq.DEALER)
    rogue.connect("inproc://g")
    junk = [b"", b"Zjunk", b"Hwrong", b"H\x94\xa1l\xa1w\x00" + b"\x91" * 8000,
            b"H" + write_hello("other", "w", 0), b"D" + b"\xff" * 24, b"F", b"L",
            *(first + payload for first in (b"", b"H", b"D", b"R") for payload in PAYLOADS.values())]
    for message in junk:
        rogue.send(message)
    rogue.send_multipart([b"D", b"x", b"y"])
    ends = Ends(outlet, lambda name, attempt: ZmqInlet(context, "inproc://g", "l", name, attempt))
    inlet = joined(ends)
    until(lambda: outlet.pump() or outlet.account.refused == len(junk) + 1, "the junk")
    assert offer(ends, 1)
    assert receive(ends, inlet, PATIENCE_S) == 1
    inlet.release()
    until(lambda: outlet.pump() or outlet.account.acknowledged == 1, "credit")
    rogue.close()
    inlet.close()
    outlet.close()


def by_hand(context: zmq.Context[Any]) -> tuple[ZmqOutlet, zmq.Socket[Any], Ends]:
    """An outlet, and a receiver that says what we write."""
    outlet = ZmqOutlet(context, "inproc://g", "l")
    receiver = context.socket(zmq.DEALER)
    receiver.connect("inproc://g")
    receiver.send(b"H" + write_hello("l", "only", 0))
    until(lambda: outlet.pump() or outlet.ready, "hello")
    return outlet, receiver, Ends(outlet, lambda name, attempt: None)  # type: ignore[arg-type, return-value]


def test_a_receiver_that_lies_about_what_it_has_is_counted(context: zmq.Context[Any]) -> None:
    outlet, liar, ends = by_hand(context)
    assert offer(ends, 0)
    for said in (b"D" + struct.pack("<Q", 7), b"R" + struct.pack("<Q", 9), b"F"):
        liar.send(said)
    until(lambda: outlet.pump() or outlet.account.refused == 3, "the lies")
    assert outlet.account.acknowledged == 0
    assert not outlet.finished
    lawful(ends)
    liar.close()
    outlet.close()


def test_addresses_that_cannot_work_say_what_to_do(context: zmq.Context[Any]) -> None:
    with pytest.raises(InputError, match=r"link l: cannot listen at ipc:///x.*set XDG_RUNTIME_DIR to a shorter"):
        ZmqOutlet(context, f"ipc:///{'x' * 120}", "l")
    with pytest.raises(InputError, match=r"cannot listen at tcp://192\.0\.2\.1:\*.*an address of this machine"):
        ZmqOutlet(context, "tcp://192.0.2.1:*", "l")


def test_a_receiver_cannot_be_two(context: zmq.Context[Any]) -> None:
    outlet = ZmqOutlet(context, "inproc://g", "l", receivers=2)
    liar = context.socket(zmq.DEALER)
    liar.connect("inproc://g")
    for name in ("one", "two"):
        liar.send(b"H" + write_hello("l", name, 0))
    ends = Ends(outlet, lambda name, attempt: ZmqInlet(context, "inproc://g", "l", name, attempt))
    until(lambda: outlet.pump() or outlet.account.refused == 1, "the second hello")
    assert outlet.receivers == ("one",)
    assert offer(ends, 0)
    outlet.lose("one", "it lies")
    liar.send(b"D" + struct.pack("<Q", 0))
    until(lambda: outlet.pump() or outlet.account.refused == 2, "the answer of a stranger")
    good = joined(ends, "good")
    assert receive(ends, good, 5) == 0
    lawful(ends)
    good.abandon()
    liar.close()
    outlet.close()


def test_blocks_that_go_one_by_one_are_answered_at_once(context: zmq.Context[Any]) -> None:
    outlet = ZmqOutlet(context, "inproc://g", "l")
    ends = Ends(outlet, lambda name, attempt: ZmqInlet(context, "inproc://g", "l", name, attempt))
    inlet = joined(ends)
    for n in range(5):
        assert offer(ends, n)
        assert receive(ends, inlet, 5) == n
        inlet.release()  # and nobody looks at the inlet any more
        until(lambda: outlet.pump() or outlet.settled(n), "the answer")  # noqa: B023
    inlet.close()
    outlet.close()


def test_one_wrong_number_in_an_answer_costs_the_others_nothing(context: zmq.Context[Any]) -> None:
    outlet, receiver, ends = by_hand(context)
    assert all(offer(ends, n) for n in range(3))
    receiver.send(b"D" + struct.pack("<Q", 0))
    receiver.send(b"D" + struct.pack("<3Q", 0, 1, 2))  # 0 once more: it came again after the connection broke
    until(lambda: outlet.pump() or outlet.account.refused == 1, "the wrong number")
    assert outlet.account.acknowledged == 3
    lawful(ends)
    receiver.close()
    outlet.close()


def test_what_a_receiver_cannot_read_is_lost_with_the_reason(context: zmq.Context[Any]) -> None:
    outlet = ZmqOutlet(context, "inproc://g", "l")
    ends = Ends(outlet, lambda name, attempt: ZmqInlet(context, "inproc://g", "l", name, attempt))
    inlet = joined(ends)
    outlet._store = lambda block, parts, nbytes: [b"junk"]  # type: ignore[method-assign]
    assert offer(ends, 0)
    until(lambda: inlet.receive() is None and inlet.account.refused == 1, "the junk")
    until(lambda: outlet.pump() or outlet.account.lost, "the loss")
    assert outlet.account.lost == {"refused by its receiver as no block": 1}
    lawful(ends)
    inlet.close()
    outlet.close()


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_garbage_from_a_sender_is_counted(context: zmq.Context[Any], payload: bytes) -> None:
    router = context.socket(zmq.ROUTER)
    router.bind("inproc://g")
    inlet = ZmqInlet(context, "inproc://g", "l", "w")
    identity, _ = router.recv_multipart()
    router.send_multipart([identity, payload])
    router.send_multipart([identity, b"B" + bytes(20), payload])
    until(lambda: inlet.receive() is None and inlet.account.refused == 2, "the junk")
    assert not inlet.ended
    inlet.abandon()
    router.close()


def test_a_receiver_whose_connection_is_gone_is_lost_at_once(context: zmq.Context[Any]) -> None:
    outlet = ZmqOutlet(context, "inproc://g", "l")
    ends = Ends(outlet, lambda name, attempt: ZmqInlet(context, "inproc://g", "l", name, attempt))
    joined(ends, "a").abandon()
    until(lambda: not outlet.receivers or not offer(ends, 0), "the loss")
    second = joined(ends, "b")
    got = []
    until(lambda: got.append(receive(ends, second)) or 0 in got, "the block again")
    lawful(ends)
    second.close()
    outlet.close()
