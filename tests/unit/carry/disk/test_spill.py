from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.disk.spill import Spill
from camlink.carry.disk.spilling import SpillingOutlet, read_spilled, save
from camlink.carry.memory import MemoryOutlet
from camlink.errors import StorageError, WireError
from camlink.testing.ends import NBYTES, Ends, joined, lawful, numbered, offer, receive
from camlink.testing.hostile import PAYLOADS


def spilled(path: Path, count: int = 3) -> Spill:
    spill = Spill(path)
    for number in range(count):
        assert spill.append([b"head %d" % number, np.full(100, number, np.uint16)], 2)
    return spill


def ends_of(path: Path, limit_bytes: int = 1 << 20) -> Ends:
    inner = MemoryOutlet("l", policy="spill", limit_bytes=2 * NBYTES)
    return Ends(SpillingOutlet(inner, Spill(path, limit_bytes)), inner.join)


def test_blocks_come_back_in_order_and_the_file_is_emptied(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "s")
    size = (tmp_path / "s").stat().st_size
    for number in range(3):
        head, numbers = spill.next()
        assert head == b"head %d" % number
        assert numbers == np.full(100, number, np.uint16).tobytes()
        spill.pop()
    spill.done(2)
    assert (tmp_path / "s").stat().st_size == size
    spill.done(1)
    assert (tmp_path / "s").stat().st_size == 24
    spill.close(keep=False)
    assert not (tmp_path / "s").exists()


def test_what_was_not_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "s")
    spill.pop()
    spill.pop()
    spill.done(1)
    os.close(spill._fd)  # the process is killed: nothing else happens
    again = Spill(tmp_path / "s")
    assert [again.next()[0] for _ in range(2) if again.pop] == [b"head 1"] * 2
    again.pop()
    assert again.next()[0] == b"head 2"
    again.close(keep=True)


@given(cut=st.integers(0, 800))
def test_a_torn_end_costs_only_what_was_not_finished(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "s"
    spill = spilled(path)
    ends = [record.end for record in spill.waiting]
    spill.close(keep=True)
    os.truncate(path, max(0, ends[-1] - cut))
    again = Spill(path)
    whole = sum(end <= ends[-1] - cut for end in ends)
    assert len(again.waiting) == whole
    assert again.append([b"new"], 1)
    assert len(again.waiting) == whole + 1
    again.close(keep=False)


@given(at=st.integers(24, 700), value=st.integers(1, 255))
def test_a_damaged_block_is_never_given_out(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = tmp_path_factory.mktemp("damaged") / "s"
    spill = spilled(path)
    byte = os.pread(spill._fd, 1, at)[0]
    os.pwrite(spill._fd, bytes([byte ^ value]), at)
    for number in range(3):
        record = spill.waiting[0]
        if record.offset <= at < record.end:
            with pytest.raises(WireError, match="damaged"):
                spill.next()
        else:
            assert spill.next()[0] == b"head %d" % number
        spill.pop()
    spill.close(keep=False)


@given(at=st.integers(24, 1000), value=st.integers(1, 255))
def test_of_a_damaged_file_only_the_damaged_block_is_lost(
        tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = tmp_path_factory.mktemp("rotten") / "s"
    spill = spilled(path, 4)
    hit = next((number for number, record in enumerate(spill.waiting) if record.offset <= at < record.end), -1)
    byte = os.pread(spill._fd, 1, at)[0]
    os.pwrite(spill._fd, bytes([byte ^ value]), at)
    spill.close(keep=True)
    again = Spill(path)
    found = []
    while again.waiting:
        with suppress(WireError):
            found.append(again.next()[0])
        again.pop()
    assert found == [b"head %d" % number for number in range(4) if number != hit]
    again.close(keep=False)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_hostile_files_are_refused_or_empty(tmp_path: Path, payload: bytes) -> None:
    for number, content in enumerate((payload, b"camlink spill 1\n" + struct.pack("<Q", 24) + payload)):
        path = tmp_path / str(number)
        path.write_bytes(content)
        if not number and len(payload) >= 24:
            files = len(os.listdir("/proc/self/fd"))
            with pytest.raises(StorageError, match="is no spill file"):
                Spill(path)
            assert len(os.listdir("/proc/self/fd")) == files
            continue
        spill = Spill(path)
        assert not spill.waiting
        spill.close(keep=False)


def test_a_full_disk_makes_the_sender_wait_and_is_told(tmp_path: Path) -> None:
    ends = ends_of(tmp_path / "s", limit_bytes=4 * NBYTES)
    inlet = joined(ends)
    taken = 0
    while offer(ends, taken):
        taken += 1
    assert 4 <= taken <= 6
    lawful(ends)
    assert "the sender waits" in ends.outlet.account.snapshot().notes[0]
    got = [receive(ends, inlet), receive(ends, inlet)]
    inlet.release()
    ends.outlet.pump()
    while (number := receive(ends, inlet)) is not None:
        got.append(number)
        inlet.release()
    assert got == list(range(taken))
    assert offer(ends, taken)
    lawful(ends)
    inlet.abandon()
    ends.outlet.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_without_room_is_no_crash(tmp_path: Path) -> None:
    spill = spilled(tmp_path / "s", 1)
    good, spill._fd = spill._fd, os.open("/dev/full", os.O_RDWR)
    full = spill._fd
    real = os.ftruncate
    try:
        os.ftruncate = lambda fd, size: real(good, size)  # type: ignore[assignment]
        assert not spill.append([b"x" * 100], 1)
    finally:
        os.ftruncate = real
    os.close(full)
    spill._fd = good
    assert "No space left on device" in spill.note
    assert spill.append([b"y"], 1)
    spill.pop()
    assert spill.next() == [b"y"]
    spill.close(keep=False)


def test_what_the_link_keeps_is_saved_beside_what_is_on_disk_each_block_once(tmp_path: Path) -> None:
    ends = ends_of(tmp_path / "s")
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(6))
    assert [block.header.sequence for block in ends.outlet.kept] == [0, 1]
    inlet.receive()
    inlet.release()
    ends.outlet.pump()  # 0 is done with, 2 comes from the disk
    assert isinstance(ends.outlet, SpillingOutlet)
    ends.outlet.save(ends.outlet.kept)
    ends.outlet.close()
    assert sorted(block.header.sequence if block else -1 for block in read_spilled(tmp_path / "s")) == [1, 2, 3, 4, 5]


def test_what_finds_no_room_at_the_end_is_said_with_what_to_do(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "s", 2 * NBYTES)
    with pytest.raises(StorageError, match=r"not saved: spill: its limit of 2000 bytes is reached; make room"):
        save(spill, [numbered(n) for n in range(2)])
    spill.close(keep=False)


def test_the_next_attempt_sends_what_was_on_disk_and_marks_it(tmp_path: Path) -> None:
    first = ends_of(tmp_path / "s")
    inlet = joined(first)
    assert all(offer(first, n) for n in range(6))
    os.close(first.outlet._spill._fd)  # type: ignore[attr-defined]
    first.outlet._spill._fd = -1  # type: ignore[attr-defined]
    inlet.abandon()
    first.outlet.close()
    second = ends_of(tmp_path / "s")
    inlet = joined(second)
    lawful(second)
    assert second.outlet.account.kept == 4
    assert offer(second, 6)
    got = []
    second.outlet.finish()
    while not inlet.ended:
        second.outlet.pump()
        block = inlet.receive()
        if block is not None:
            got.append((block.header.sequence, block.header.again))
            inlet.release()
    assert got == [(2, 1), (3, 1), (4, 1), (5, 1), (6, 0)]
    inlet.close()
    second.outlet.pump()
    assert second.outlet.finished
    lawful(second)
    second.outlet.close()
    assert not (tmp_path / "s").exists()


def test_a_damaged_block_on_disk_is_lost_with_a_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    ends = ends_of(tmp_path / "s")
    inlet = joined(ends)
    assert all(offer(ends, n) for n in range(5))
    spill = ends.outlet._spill  # type: ignore[attr-defined]
    os.pwrite(spill._fd, b"\x00" * 8, spill.waiting[1].offset + 60)
    got = []
    for _ in range(5):
        got.append(receive(ends, inlet))
        inlet.release()
        ends.outlet.pump()
    assert got == [0, 1, 2, 4, None]
    lawful(ends)
    assert ends.outlet.account.lost == {"damaged on disk": 1}
    ends.outlet.detach("over")
    inlet.abandon()
    ends.outlet.close()
