from __future__ import annotations

from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from camlink.block import Block, Header, Result, Scan
from camlink.carry.envelope import MAX_ARRAYS, decode, encode
from camlink.errors import WireError
from camlink.testing.hostile import PAYLOADS

SCAN = Scan(id="s", expected=3, shape=(4, 4), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800.0,
            span_m=(0, 0, 1e-6, 1e-6))
HEADER = Header(scan=SCAN, made_s=12.5, source="solve", sequence=7, facts={"error": 0.1, "final": True, "n": 3})
DTYPES = ("<u2", ">u2", "<f4", "<f8", "<c8", "|u1", "|b1", "<i8")


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(DTYPES).flatmap(
    lambda d: arrays(np.dtype(d), array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))), max_size=4))
def test_a_block_comes_back_as_it_was(content: dict[str, np.ndarray]) -> None:
    back = decode([bytes(part) if i == 0 else memoryview(part).cast("B") if part.size else b""
                   for i, part in enumerate(encode(Result(HEADER, content)))])
    assert type(back) is Result
    assert back.header == HEADER
    for name, array in content.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)
        assert not back.arrays[name].flags.writeable


def test_large_arrays_are_views_on_both_sides_and_small_ones_travel_with_the_head() -> None:
    large, small = np.arange(1000.0).reshape(10, 100), np.arange(5, dtype=">u2")
    parts = encode(Result(HEADER, {"a": large, "n": small}))
    assert len(parts) == 2
    assert parts[1] is large
    buffer = bytearray(large.tobytes())
    back = decode([parts[0], buffer])
    buffer[:8] = np.float64(99).tobytes()
    assert back.arrays["a"][0, 0] == 99
    np.testing.assert_array_equal(back.arrays["n"], small)
    assert back.arrays["n"].flags.aligned


def test_the_same_layout_again_and_another_type_of_it_are_checked_each_for_itself() -> None:
    parts = encode(Result(HEADER, {"a": np.zeros(2, np.float32)}))
    assert decode(parts).count == decode(parts).count == 1
    with pytest.raises(WireError, match="lacks the arrays"):
        decode([head(type="CountFrames"), bytes(5200)])


DEEP = msgspec.Raw(b"\x91" * 100_000 + b"\xc0")


def head(small: bytes = b"", **change: object) -> bytes:
    parts = {"version": 2, "type": "Result", "header": HEADER, "layout": [("a", "<f4", (1300,))]} | change
    body = msgspec.msgpack.encode(list(parts.values()))
    return len(body).to_bytes(4, "little") + body + bytes(-(len(body) + 4) % 16) + small


@pytest.mark.parametrize(("message", "says"), [
    ([], "0 parts"),
    ([b"\x80" * 100], "does not parse"),
    ([b"\xff" * 100], "does not parse"),
    ([b"\x01"], "does not parse"),
    ([head(version=9), bytes(8)], "block version 9"),
    ([head(type="Pickle"), bytes(8)], "unknown block type 'Pickle'"),
    ([head()], "announces 2 parts and 0 bytes of small arrays, the message has 1 and 0"),
    ([head(small=bytes(16)), bytes(5200)], "announces 2 parts and 0 bytes of small arrays, the message has 2 and 16"),
    ([head(layout=[("a", "<f4", (2,))])], "announces 1 parts and 16 bytes of small arrays, the message has 1 and 0"),
    ([head(), bytes(4)], "announces 5200 bytes and carries 4"),
    ([head(layout=7), bytes(8)], "layout of a block does not parse"),
    ([head(layout=[("a", "|O", (1,))]), bytes(8)], "does not travel"),
    ([head(layout=DEEP)], "does not parse"),
    ([head(header={"x": DEEP})], "does not parse"),
    ([head(layout=[("a", "nonsense", (1,))]), bytes(8)], "does not travel"),
    ([head(layout=[("a", "<i16", (1,))]), bytes(8)], "unknown dtype"),
    ([head(layout=[("a", "(1,,2)f4", (1,))]), bytes(8)], "does not travel"),
    ([head(layout=[("a", "f4," * 1000, (1,))]), bytes(8)], "does not travel"),
    ([head(layout=[("a", "<f4", (-1, -2))]), bytes(8)], "impossible shape"),
    ([head(layout=[("a", "<f4", (2**40, 2**40))]), bytes(8)], "announces"),
    ([head(layout=[("a", "<f4", (0, 2**40))]), bytes(8)], "announces"),
    ([head(layout=[("a", "<f4", (0, 2**32, 2**32))]), bytes(8)], "announces"),
    ([head(layout=[("a", "<f4", (1,) * 40)]), bytes(4)], "impossible shape"),
    ([head(layout=[("a", "<f4", (1,))] * 2, small=bytes(32))], "same name"),
    ([head(layout=[("a", "<f4", (1,))] * 100, small=bytes(1600))], "at most 64 arrays"),
    ([head(type="CountFrames"), bytes(5200)], "lacks the arrays"),
    ([head(), *[b""] * (MAX_ARRAYS + 5)], "parts"),
    ([b"x" * (1 << 21)], "at most"),
])
def test_hostile_messages_are_refused_with_a_reason(message: list[bytes], says: str) -> None:
    with pytest.raises(WireError, match=says):
        decode(message)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_hostile_payloads_are_refused_wherever_they_stand(payload: bytes) -> None:
    for message in ([payload], [head(), payload], [payload, payload]):
        with pytest.raises(WireError):
            decode(message)


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_garbage_never_gets_through(message: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(message)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_still_a_block(at: int, value: int) -> None:
    first = bytearray(encode(Result(HEADER, {"a": np.zeros(2, np.float32), "b": np.zeros(1300, np.float32)}))[0])
    first[at % len(first)] = value
    with suppress(WireError):
        assert isinstance(decode([bytes(first), bytes(5200)]), Block)
