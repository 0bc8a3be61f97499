from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.ring.arena import (
    HERE,
    Arena,
    Mapping,
    map_file,
    new_file,
    new_piece,
    place_of,
    plan,
    read_extent,
    write_extent,
)
from camlink.errors import WireError
from camlink.testing.hostile import PAYLOADS

PARTS = [b"head", np.arange(1000, dtype=np.uint16), np.arange(3.0)]


def written(parcel: int = 7) -> np.ndarray:
    planned = plan(PARTS, no_other)
    memory = np.zeros(planned.nbytes, np.uint8)
    write_extent(memory, 0, parcel, PARTS, planned)
    return memory


def no_other(what: object) -> Any:
    raise WireError(f"there is no other arena {what}")


def read(memory: np.ndarray, parcel: int = 7) -> list[Any]:
    return read_extent(memory, 0, len(memory), parcel, no_other)


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
    head, numbers, three = read(memory)
    assert head == b"head"
    np.testing.assert_array_equal(np.frombuffer(numbers, np.uint16), PARTS[1])
    memory[128:] = 0xFF
    assert bytes(three) == b"\xff" * 24
    assert bytes(numbers) == b"\xff" * 2000


def test_memory_that_was_used_anew_is_found() -> None:
    with pytest.raises(WireError, match=r"parcel 6 .* was announced, but 7 .* used anew"):
        read(written(), 6)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_hostile_bytes_in_shared_memory_are_refused(payload: bytes) -> None:
    for memory in (np.frombuffer(payload, np.uint8), written()):
        if len(memory) > len(payload):
            memory[:len(payload)] = np.frombuffer(payload, np.uint8)
        if memory[:4].tobytes() != b"cmlk":
            with pytest.raises(WireError):
                read(memory)


@given(st.integers(0, 127), st.integers(0, 255))
def test_a_corrupt_head_is_refused_or_stays_inside_its_extent(at: int, value: int) -> None:
    memory = written()
    memory[at] = value
    with suppress(WireError):
        assert all(len(part) <= len(memory) for part in read(memory))


@pytest.mark.parametrize("place", [(HERE, 0, 1 << 63), (HERE, 2**64 - 64, 64), (HERE, 5000, 0), (HERE, 200, 2**40)])
def test_impossible_places_are_refused(place: tuple[int, ...]) -> None:
    memory = written()
    struct.pack_into("<3Q", memory.data, 24 + 24, *place)
    with pytest.raises(WireError, match="does not fit"):
        read(memory)


def test_a_part_in_an_arena_that_was_not_handed_over_is_refused() -> None:
    memory = written()
    struct.pack_into("<Q", memory.data, 24 + 24, 9)
    with pytest.raises(WireError, match="no other arena 9"):
        read(memory)


def test_arrays_of_others_are_found_where_they_lie_and_handed_on_once() -> None:
    arena = Arena(1 << 16)
    arena.memory[:] = np.arange(1 << 16) % 251
    first, second = (Mapping(os.dup(arena.fd), arena.nbytes, foreign=foreign) for foreign in (False, True))
    array = np.ndarray((100, 64), np.uint8, first.root().data[640:640 + 6400])
    for part, offset in ((array, 640), (array[3:90], 640 + 3 * 64), (array[5:].reshape(-1), 640 + 5 * 64)):
        assert place_of(part) == (first, offset)
    assert place_of(array.copy()) is None
    assert place_of(np.ndarray((10,), np.uint8, second.root().data[:10])) is None
    planned = plan([b"head", array], lambda mapping: 5)
    assert planned.others == (first,)
    assert planned.nbytes < 1000
    memory = np.zeros(planned.nbytes, np.uint8)
    write_extent(memory, 0, 7, [b"head", array], planned)
    parts = read_extent(memory, 0, planned.nbytes, 7, lambda number: first.root() if number == 5 else no_other(number))
    np.testing.assert_array_equal(np.frombuffer(parts[1], np.uint8), array.ravel())
    arena.close()


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
    os.close(fd)
    arena.close()


def test_a_file_that_could_shrink_under_us_is_not_mapped() -> None:
    with pytest.raises(WireError, match="could shrink"):
        map_file(new_file(100), 100)
    piece = new_piece(1, PARTS, plan(PARTS, no_other))
    assert fcntl.fcntl(piece, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    with pytest.raises(WireError, match="were announced"):
        map_file(piece, 1 << 40)
