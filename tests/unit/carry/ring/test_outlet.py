from __future__ import annotations

import gc
import os
import resource
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.carry.envelope import encode
from camlink.carry.link import Kind
from camlink.carry.ring.inlet import RingInlet
from camlink.carry.ring.outlet import MAX_STRANGERS, RECORD, RingOutlet
from camlink.carry.zmq import write_hello
from camlink.errors import AddressInUse, InputError, PeerLost, StorageError
from camlink.testing.ends import NBYTES, Ends, Make, joined, lawful, numbered, offer, receive, taken, until
from camlink.testing.hostile import PAYLOADS

BIG = 10 * NBYTES


def settled(ends: Ends, inlet: Any, frames: int) -> None:
    def done() -> bool:
        inlet.receive()
        ends.outlet.pump()
        return ends.outlet.account.acknowledged == frames

    until(done, "acknowledgements")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def ends(make_kind: Callable[[Kind], Make]) -> Ends:
    return make_kind("shm")("block", 4 * BIG, 1)


def test_blocks_are_views_of_shared_memory_until_nobody_looks(ends: Ends) -> None:
    inlet = joined(ends)
    arena = ends.outlet._arena  # type: ignore[attr-defined]
    before = arena.free_bytes
    assert offer(ends, 3, BIG)
    block = taken(ends, inlet)
    array = block.arrays["a"]
    assert not array.flags.writeable
    assert not array.flags.owndata
    inlet.release()
    settled(ends, inlet, 1)
    part = array[5:10]
    del block, array
    for number in range(4, 8):
        assert offer(ends, number, BIG)
    assert (part == 3).all()  # acknowledged, but still looked at: not used anew
    del part
    for _ in range(4):
        taken(ends, inlet)
        inlet.release()
    settled(ends, inlet, 5)
    until(lambda: inlet.receive() or ends.outlet.pump() or arena.free_bytes == before, "all memory to come back")


def test_a_consumer_that_keeps_every_block_stops_nothing(ends: Ends) -> None:
    inlet = joined(ends)
    kept = []
    for number in range(50):
        until(lambda n=number: ends.outlet.pump() or inlet.release() or offer(ends, n, BIG), "room")
        kept.append(taken(ends, inlet))
        inlet.release()
    assert [int(block.arrays["a"][BIG // 2]) for block in kept] == list(range(50))
    assert ends.outlet._arena.free_bytes < BIG  # type: ignore[attr-defined]
    lawful(ends)


def test_a_consumer_that_keeps_more_blocks_than_files_are_usual_loses_none(make_kind: Callable[[Kind], Make]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    usual = 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, hard))
    try:
        ends = make_kind("shm")("block", 4 * BIG, 1)
        inlet, kept = joined(ends), []
        for number in range(usual):
            until(lambda n=number: ends.outlet.pump() or inlet.release() or offer(ends, n, BIG), "room")
            kept.append(taken(ends, inlet))
        assert [int(block.arrays["a"][0]) for block in kept] == list(range(usual))
        assert open_files() > usual
        kept.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Chain:
    """A sender, one in the middle that hands on what it gets, and a receiver."""

    def __init__(self, make: Make) -> None:
        self.first, self.second = make("block", 4 * BIG, 1), make("block", 4 * BIG, 1)
        self.middle, self.last = joined(self.first), joined(self.second)

    def hand_on(self, number: int) -> Any:
        """What arrives at the end of the chain."""
        assert offer(self.first, number, BIG)
        block = taken(self.first, self.middle)
        assert self.second.outlet.offer(block, encode(block))
        return taken(self.second, self.last)


def test_a_block_is_handed_on_where_it_lies_and_comes_back_in_the_end(make_kind: Callable[[Kind], Make]) -> None:
    chain = Chain(make_kind("shm"))
    one, two = (ends.outlet._arena for ends in (chain.first, chain.second))  # type: ignore[attr-defined]
    free, own = one.free_bytes, two.free_bytes
    block = chain.hand_on(7)
    assert own - two.free_bytes < 2000  # the head only
    chain.middle.release()
    settled(chain.first, chain.middle, 1)
    assert one.free_bytes < free - BIG  # acknowledged, but the last one looks at it
    array = block.arrays["a"]
    assert (array == 7).all()
    del block
    chain.last.release()
    settled(chain.second, chain.last, 1)
    assert (array == 7).all()
    del array

    def back() -> bool:
        for ends, inlet in ((chain.second, chain.last), (chain.first, chain.middle)):
            inlet.receive()
            ends.outlet.pump()
        return (one.free_bytes, two.free_bytes) == (free, own)

    until(back, "all memory to come back")


def test_what_was_handed_on_outlives_the_one_in_the_middle(make_kind: Callable[[Kind], Make]) -> None:
    chain = Chain(make_kind("shm"))
    old = chain.first.outlet._arena  # type: ignore[attr-defined]
    block = chain.hand_on(7)
    chain.middle._socket.close()  # type: ignore[attr-defined]
    until(lambda: chain.first.outlet.pump() or not chain.first.outlet.receivers, "the loss")
    again = joined(chain.first, "only", 1)
    for number in range(8, 30):
        until(lambda n=number: chain.first.outlet.pump() or again.release() or offer(chain.first, n, BIG), "room")
        taken(chain.first, again)
    taken(chain.first, again)
    again.release()
    settled(chain.first, again, 23)
    assert (block.arrays["a"] == 7).all()
    assert chain.first.outlet._arena is not old  # type: ignore[attr-defined]
    assert old.fd == -1  # nothing in custody lies there any more
    lawful(chain.first)


def test_programs_that_a_receiver_starts_do_not_get_the_memory(ends: Ends) -> None:
    inlet = joined(ends)
    assert offer(ends, 1, BIG)
    taken(ends, inlet)
    (mapping,) = inlet._arenas.values()  # type: ignore[attr-defined]
    assert not os.get_inheritable(mapping.fd)


def test_nothing_is_left_open_or_named(tmp_path: Path) -> None:
    before, shm = open_files(), sorted(os.listdir("/dev/shm"))
    outlet = RingOutlet(str(tmp_path / "s"), "l", limit_bytes=4 * BIG)
    ends = Ends(outlet, lambda name, attempt: RingInlet(str(tmp_path / "s"), "l", name, attempt))
    inlet = joined(ends)
    for number in range(4):
        assert offer(ends, number, 3 * BIG if number == 3 else BIG) or number == 3
    assert taken(ends, inlet).header.sequence == 0
    inlet.close()
    outlet.close()
    assert open_files() == before
    assert sorted(os.listdir("/dev/shm")) == shm
    assert not (tmp_path / "s").exists()


def test_the_end_of_a_receiver_is_seen_at_once_and_its_memory_comes_back(ends: Ends) -> None:
    inlet = joined(ends, "w", 0)
    for number in range(3):
        assert offer(ends, number, BIG)
    block = taken(ends, inlet)
    inlet._socket.close()  # type: ignore[attr-defined]
    until(lambda: ends.outlet.pump() or not ends.outlet.receivers, "the loss")
    lawful(ends)
    second = joined(ends, "w", 1)
    assert [receive(ends, second, 1.0) for _ in range(3)] == [0, 1, 2]
    assert block.header.again == 0
    second.release()
    settled(ends, second, 3)
    assert "receiver w lost: its connection ended" in ends.outlet.account.snapshot().notes


def test_what_came_of_a_sender_that_died_stays_valid_and_nobody_spins(tmp_path: Path) -> None:
    outlet = RingOutlet(str(tmp_path / "s"), "l", limit_bytes=4 * BIG)
    ends = Ends(outlet, lambda name, attempt: RingInlet(str(tmp_path / "s"), "l", name, attempt))
    inlet = joined(ends)
    assert offer(ends, 1, BIG)
    assert offer(ends, 2, BIG)
    first = taken(ends, inlet)
    outlet._shut()
    second = inlet.receive()
    assert second is not None
    assert (second.arrays["a"] == 2).all()
    assert (first.arrays["a"] == 1).all()
    inlet.release()
    assert inlet.receive() is None
    poll = select.poll()
    poll.register(inlet.pollable, select.POLLIN)
    assert poll.poll(10) == []
    assert not inlet.ended
    inlet.cut()
    assert inlet.receive() is None
    assert inlet.ended
    inlet.close()


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_garbage_from_strangers_is_refused_and_the_link_goes_on(ends: Ends, payload: bytes) -> None:
    path = ends.outlet.address.removeprefix("shm://")
    hello = write_hello("l", "only", 0)
    strangers = []
    for first in (b"", b"H", b"H\xff\xff", b"H\x05\x00", b"H" + len(hello).to_bytes(2, "little") + b"\x00" * 90):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(path)
        stranger.sendall(first + payload)
        strangers.append(stranger)
        ends.outlet.pump()
    for stranger in strangers:
        stranger.close()
    inlet = joined(ends)
    assert offer(ends, 1)
    assert receive(ends, inlet, 1.0) == 1
    inlet.release()
    settled(ends, inlet, 1)
    lawful(ends)


def test_strangers_that_say_nothing_keep_no_receiver_out(ends: Ends) -> None:
    strangers = []
    for _ in range(MAX_STRANGERS):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(ends.outlet.address.removeprefix("shm://"))
        strangers.append(stranger)
        ends.outlet.pump()
    inlet = joined(ends)
    assert ends.outlet.account.refused == 1
    assert strangers[0].recv(1) == b""  # who was there longest
    assert offer(ends, 1)
    assert receive(ends, inlet, 1.0) == 1
    inlet.release()
    settled(ends, inlet, 1)
    for stranger in strangers:
        stranger.close()
    lawful(ends)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_garbage_from_a_receiver_is_counted(ends: Ends, payload: bytes) -> None:
    liar = socket.socket(socket.AF_UNIX)
    liar.connect(ends.outlet.address.removeprefix("shm://"))
    hello = write_hello("l", "liar", 0)
    liar.sendall(b"H" + len(hello).to_bytes(2, "little") + hello + payload * 16)
    until(lambda: ends.outlet.pump() or ends.outlet.receivers or ends.outlet.account.snapshot().notes, "the hello")
    assert offer(ends, 0) or not ends.outlet.receivers
    ends.outlet.pump()
    assert ends.outlet.account.acknowledged <= ends.outlet.account.sent
    lawful(ends)
    liar.close()
    until(lambda: ends.outlet.pump() or not ends.outlet.receivers, "the loss")
    lawful(ends)


@pytest.mark.parametrize("payload", [
    *PAYLOADS.values(),
    RECORD.pack(b"B", 1, 0, 0, 0, 1 << 40, 0.0), RECORD.pack(b"B", 1, 0, 0, 1 << 63, 64, 0.0),
    RECORD.pack(b"B", 1, 0, 0, 0, 0, 0.0), RECORD.pack(b"P", 1, 0, 0, 0, 64, 0.0),
    RECORD.pack(b"A", 1, 0, 0, 0, 64, 0.0), RECORD.pack(b"?", 1, 0, 0, 0, 64, float("nan")),
])
def test_garbage_from_a_sender_is_counted(tmp_path: Path, payload: bytes) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    inlet = RingInlet(str(tmp_path / "s"), "l", "w")
    sender, _ = listener.accept()
    records = payload + bytes(-len(payload) % RECORD.size)
    sender.sendall(records)
    count = len(records) // RECORD.size
    until(lambda: inlet.receive() is None and inlet.account.refused == count, f"{count} refused records")
    sender.close()
    listener.close()
    inlet.receive()
    inlet.cut()
    assert inlet.receive() is None
    assert inlet.ended
    inlet.abandon()


def test_the_memory_of_a_block_that_could_not_be_opened_comes_back(ends: Ends) -> None:
    inlet = joined(ends)
    arena = ends.outlet._arena  # type: ignore[attr-defined]
    before = arena.free_bytes
    assert offer(ends, 0, BIG)
    assert inlet._listen()  # type: ignore[attr-defined]
    inlet._records.popleft()  # type: ignore[attr-defined]  # the arena cannot be mapped
    until(lambda: inlet.receive() or ends.outlet.pump() or ends.outlet.account.lost, "the loss")
    until(lambda: inlet.receive() or ends.outlet.pump() or arena.free_bytes == before, "the memory")
    lawful(ends)


def test_a_corrupted_arena_costs_a_block_and_says_so(ends: Ends) -> None:
    inlet = joined(ends)
    assert offer(ends, 0, BIG)
    ends.outlet._arena.memory[:64] = np.arange(64, dtype=np.uint8)  # type: ignore[attr-defined]
    until(lambda: inlet.receive() or ends.outlet.pump() or ends.outlet.account.lost, "the loss")
    assert ends.outlet.account.lost == {"refused by its receiver as no block": 1}
    assert offer(ends, 1, BIG)
    assert receive(ends, inlet, 1.0) == 1
    lawful(ends)


def test_addresses_that_cannot_work_say_what_to_do(tmp_path: Path) -> None:
    outlet = RingOutlet(str(tmp_path / "s"), "l")
    with pytest.raises(AddressInUse, match="cannot listen"):
        RingOutlet(str(tmp_path / "s"), "l")
    outlet.close()
    with pytest.raises(PeerLost, match="nobody answers"):
        RingInlet(str(tmp_path / "s"), "l")
    with pytest.raises(InputError, match="too long for a socket"):
        RingOutlet(str(tmp_path / ("x" * 120)), "l")


@pytest.mark.parametrize("limit_bytes", [1 << 50, 1 << 64])
def test_memory_that_cannot_be_had_is_said_and_leaves_nothing_open(tmp_path: Path, limit_bytes: int) -> None:
    gc.collect()  # what other tests left
    before = open_files()
    with pytest.raises(StorageError, match="lower the limit"):
        RingOutlet(str(tmp_path / "a"), "l", limit_bytes=limit_bytes)
    assert open_files() <= before
    assert not list(tmp_path.iterdir())


def test_a_reader_that_says_nothing_does_not_stop_the_sender_for_good(ends: Ends) -> None:
    inlet = joined(ends)
    got = 0
    for number in range(3000):  # more records than a socket holds
        while not offer(ends, number, 1):
            assert taken(ends, inlet) is not None
            got += 1
            inlet.release()
    while got < 3000:
        taken(ends, inlet)
        got += 1
        inlet.release()
    settled(ends, inlet, 3000)
    assert numbered(0).count == 1
