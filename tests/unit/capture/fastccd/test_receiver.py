from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from camlink.capture.fastccd.batch import ReceiveBatch
from camlink.capture.fastccd.geometry import Geometry
from camlink.capture.fastccd.receiver import Receiver, parse_address
from camlink.capture.fastccd.sim import Faults, Simulator
from camlink.capture.fastccd.wire import MAX_DATAGRAM_BYTES
from camlink.errors import AddressInUse, ParameterError, PeerLost

TINY = Geometry(rows=20, chips=1)
IMAGE = np.random.default_rng(3).integers(0, 0x2000, TINY.shape, dtype=np.uint16)


def collect(receiver, count, limit_s=20.0):
    frames, end = [], time.monotonic() + limit_s
    while len(frames) < count and time.monotonic() < end:
        frames += receiver.receive(0.05)
    return frames


def registered(simulator, **options):
    receiver = Receiver(TINY, address=simulator.address, **options)
    list(receiver.receive(0.0))
    simulator.wait_for_receiver(2.0)
    return receiver


@pytest.mark.parametrize("style", ["camera", "simulator"])
def test_frames_travel_over_a_socket(style):
    with Simulator(TINY, style=style, payload_bytes=512) as sim, registered(sim) as receiver:
        for number in range(5):
            sim.send(number, IMAGE)
        frames = collect(receiver, 5)
        assert [f.number for f in frames] == list(range(5))
        assert all((f.image == IMAGE).all() and not f.damaged for f in frames)
        assert abs(frames[0].time_s - time.time()) < 5
        assert receiver.heard
        assert receiver.receive_buffer_bytes > 0
        assert receiver.dropped_here() == 0


def test_a_frame_whose_packets_come_while_we_do_not_run_is_whole(monkeypatch):
    """After its first packet the machine gives the processor to others for longer than the deadline of a frame."""
    with Simulator(TINY, payload_bytes=512) as sim, registered(sim, deadline_s=0.5) as receiver:
        feed, batch, away_s = receiver.assembler.feed, receiver._batch, [0.0]

        def slow(*given):
            yield from feed(*given)
            receiver._batch, away_s[0] = batch, 1.0

        monkeypatch.setattr(receiver.assembler, "feed", slow)
        monkeypatch.setattr("camlink.capture.fastccd.receiver.now_s", lambda: time.time() + away_s[0])
        receiver._batch = ReceiveBatch(1, MAX_DATAGRAM_BYTES)  # the others wait in the socket
        sim.send(0, IMAGE)
        (frame,) = collect(receiver, 1)
        assert not frame.damaged


def test_what_waits_in_the_socket_while_we_do_not_run_is_no_silence(monkeypatch):
    away_s = [0.0]
    monkeypatch.setattr("camlink.capture.fastccd.receiver.now_s", lambda: time.time() + away_s[0])
    with Simulator(TINY, payload_bytes=512) as sim, registered(sim) as receiver:
        sim.send(0, IMAGE)
        away_s[0] = 10.0
        assert receiver.silent_s < 5
        assert len(collect(receiver, 1)) == 1
        list(receiver.receive(0.0))
        assert receiver.silent_s < 5
        away_s[0] = 20.0
        list(receiver.receive(0.0))
        assert receiver.silent_s > 5


def test_a_foreign_sender_is_named():
    with Simulator(TINY, payload_bytes=512, faults=Faults(garbage=1.0)) as sim, registered(sim) as receiver:
        sim.send(0, IMAGE)
        assert collect(receiver, 1)[0].number == 0
        list(receiver.receive(0.05))
        c = receiver.counters
        assert (c.foreign, c.malformed) == (sim.counts.foreign, sim.counts.malformed)
        assert len(receiver.foreign_senders) == 1


def test_without_an_address_the_first_camera_is_listened_to():
    with Receiver(TINY, first_number=None) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.sendto(b"hello there", (receiver.host, receiver.port))
        with Simulator(TINY, payload_bytes=512) as sim, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as greeter:
            host, port = sim.address[6:].split(":")
            greeter.sendto(b"x", (host, int(port)))
            sim.wait_for_receiver(2.0)
            sim._welcome()
            sim._receiver = (receiver.host, receiver.port)
            sim.send(11, IMAGE)
            assert [f.number for f in collect(receiver, 1)] == [11]
            noise.sendto(b"hello again", (receiver.host, receiver.port))
            end = time.monotonic() + 20
            while not receiver.counters.foreign and time.monotonic() < end:
                list(receiver.receive(0.05))
            assert receiver.counters.foreign == 1


def test_a_receiver_that_starts_again_is_served():
    with Simulator(TINY, payload_bytes=512) as sim:
        registered(sim).close()
        with registered(sim, first_number=5) as receiver:
            sim.send(5, IMAGE)
            assert len(collect(receiver, 1)) == 1


def test_a_taken_port_names_its_holder():
    with Receiver(TINY) as first, pytest.raises(AddressInUse, match=f"{first.port}.*choose another"):
        Receiver(TINY, port=first.port)
    with Simulator(TINY) as sim, pytest.raises(AddressInUse, match="simulator"):
        Simulator(TINY, port=int(sim.address.rpartition(":")[2]))


@pytest.mark.parametrize("text", ["tcp://1.2.3.4:5", "udp://1.2.3.4", "1.2.3.4:5", "udp://:7", "udp://1.2.3.4:99999"])
def test_bad_addresses_are_refused(text):
    with pytest.raises(ParameterError, match="udp://"):
        parse_address(text)


def test_nobody_registers():
    with Simulator(TINY) as sim:
        with pytest.raises(PeerLost, match="no receiver"):
            sim.wait_for_receiver(0.05)
        with pytest.raises(PeerLost, match="wait_for_receiver"):
            sim.send(0, IMAGE)


def test_a_closed_receiver_says_so():
    receiver = Receiver(TINY)
    receiver.close()
    receiver.close()
    with pytest.raises((PeerLost, OSError)):
        list(receiver.receive(0.01))
