from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.arena import Arena, map_file, measure, new_file, new_piece, read_extent, write_extent
from camlink.errors import WireError
from camlink.testing.hostile import PAYLOADS

PARTS = [b"head", np.arange(1000, dtype=np.uint16), np.arange(3.0)]


def written(parcel: int = 7) -> np.ndarray:
    sizes, total = measure(PARTS)
    memory = np.zeros(total, np.uint8)
    write_extent(memory, 0, parcel, PARTS, sizes, total)
    return memory


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60))
def test_extents_never_overlap_and_come_back_whole(steps: list[tuple[int, bool]]) -> None:
    arena = Arena(64 * 100)
    taken: list[tuple[int, int]] = []
    for lines, give in steps:
        if give and taken:
            arena.give(*taken.pop(lines % len(taken)))
            continue
        offset = arena.take(64 * lines)
        if offset >= 0:
            assert all(offset + 64 * lines <= o or o + n <= offset for o, n in taken)
            taken.append((offset, 64 * lines))
        assert sum(n for _, n in taken) + arena.free_bytes == arena.nbytes
    for extent in taken:
        arena.give(*extent)
    assert arena.take(arena.nbytes) == 0
    arena.close()


def test_an_extent_gives_its_parts_back_as_views() -> None:
    memory = written()
    head, numbers, three = read_extent(memory, 7)
    assert head == b"head"
    np.testing.assert_array_equal(np.frombuffer(numbers, np.uint16), PARTS[1])
    memory[64:] = 0xFF
    assert bytes(three) == b"\xff" * 24
    assert bytes(numbers) == b"\xff" * 2000


def test_memory_that_was_used_anew_is_found() -> None:
    with pytest.raises(WireError, match=r"parcel 6 .* was announced, but 7 .* used anew"):
        read_extent(written(), 6)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_hostile_bytes_in_shared_memory_are_refused(payload: bytes) -> None:
    for memory in (np.frombuffer(payload, np.uint8), written()):
        if len(memory) > len(payload):
            memory[:len(payload)] = np.frombuffer(payload, np.uint8)
        if memory[:4].tobytes() != b"cmlk":
            with pytest.raises(WireError):
                read_extent(memory, 7)


@given(st.integers(0, 63), st.integers(0, 255))
def test_a_corrupt_head_is_refused_or_stays_inside_its_extent(at: int, value: int) -> None:
    memory = written()
    memory[at] = value
    with suppress(WireError):
        assert sum(len(part) for part in read_extent(memory, 7)) <= len(memory)


@pytest.mark.parametrize("sizes", [(1 << 63, 0, 0), (2**64 - 64, 64, 0), (0, 0, 5000), (4, 2000, 2**40)])
def test_impossible_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    memory = written()
    struct.pack_into("<3Q", memory.data, 24, *sizes)
    with pytest.raises(WireError, match="does not fit"):
        read_extent(memory, 7)


def test_nobody_shrinks_or_writes_what_others_read() -> None:
    arena = Arena(8192)
    fd = os.dup(arena.fd)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 10)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 8192)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    view = map_file(fd, 8192)
    arena.memory[5] = 9
    assert view[5] == 9
    arena.close()


def test_a_file_that_could_shrink_under_us_is_not_mapped() -> None:
    with pytest.raises(WireError, match="could shrink"):
        map_file(new_file(100), 100)
    piece = new_piece(1, PARTS, *measure(PARTS))
    assert fcntl.fcntl(piece, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    with pytest.raises(WireError, match="were announced"):
        map_file(piece, 1 << 40)
