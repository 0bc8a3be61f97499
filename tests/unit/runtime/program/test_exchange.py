import io
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camlink.block import Header, Result
from camlink.errors import FormatError
from camlink.runtime.program import exchange
from camlink.runtime.program.exchange import (
    LARGEST_HEAD_BYTES,
    as_frames,
    as_result,
    decode_stream,
    encode,
    read_files,
    write_files,
)
from camlink.testing.hostile import PAYLOADS
from camlink.testing.toys import toy_frames, toy_scan

SCAN = toy_scan(10)
FRAMES = toy_frames(SCAN, 0, 1)


def as_bytes(block):
    return b"".join(bytes(part) for part in encode(block))


WHOLE = as_bytes(FRAMES)


def test_a_block_through_files(tmp_path):
    frames = toy_frames(SCAN, 3, 2)
    write_files(frames, tmp_path / "in")
    arrays, facts = read_files(tmp_path / "in")
    assert facts == {}
    assert arrays.keys() == frames.arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, frames.arrays[name])
    assert b'"expected":10' in (tmp_path / "in/block.json").read_bytes()


@pytest.mark.parametrize("arrays", [
    {"object": np.eye(3) * 1j}, {"a": np.zeros((0, 4)), "b": np.asarray(np.int8(3))}, {},
    {"t": np.arange(6).reshape(2, 3).T}])
def test_a_block_through_a_stream(arrays):
    block = Result(Header(scan=SCAN, made_s=1.0, facts={"error": 0.5}), arrays)
    (head, found), = decode_stream(io.BytesIO(as_bytes(block)))
    assert head.header == block.header
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def test_a_program_may_write_facts_alone():
    (head, arrays), = decode_stream(io.BytesIO(b'{"facts": {"error": 0.25}}\n'))
    assert (head.facts, arrays) == ({"error": 0.25}, {})


@pytest.mark.parametrize("name", [n for n in PAYLOADS if n != "nothing"])
def test_garbage_is_refused(name):
    with pytest.raises(FormatError):
        list(decode_stream(io.BytesIO(PAYLOADS[name])))


@pytest.mark.parametrize("layout", [
    '[["a", "<f8", [1000000000000]]]', '[["a", "<f8", [-1]]]', '[["a", "|O", [1]]]', '[["a", "no", [1]]]',
    '[["../a", "<f8", [1]]]', '[["", "<f8", [1]]]', '[["a", "<f8", [1, 1, 1, 1, 1, 1, 1, 1, 1]]]',
    '[["a", "(9999999,9999)f8", [1]]]', '[["a", "<f8", [2]]]', str([["a", "<f8", [0]]] * 65).replace("'", '"')])
def test_impossible_arrays_are_refused_before_memory_is_taken(layout):
    with pytest.raises(FormatError):
        list(decode_stream(io.BytesIO(b'{"arrays": ' + layout.encode() + b"}\n12345678")))


def test_a_line_without_end_is_refused():
    with pytest.raises(FormatError):
        list(decode_stream(io.BytesIO(b" " * (LARGEST_HEAD_BYTES + 10))))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_streams_are_refused_or_read(data):
    whole = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        for _, arrays in decode_stream(io.BytesIO(bytes(whole[:cut]))):
            assert sum(array.nbytes for array in arrays.values()) <= len(whole)
    except FormatError:
        pass


def test_files_that_are_no_arrays_are_refused(tmp_path):
    np.savez(archive := io.BytesIO(), a=np.ones(3))
    for name, content in (("a", b""), ("b", b"\x93NUMPY\x01\x00"), ("c", PAYLOADS["npy"]), ("d", PAYLOADS["pickle"]),
                          ("e", archive.getvalue())):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.npy").write_bytes(content)
        with pytest.raises(FormatError, match=r"x\.npy"):
            read_files(folder)
    (tmp_path / "facts.json").write_text('{"a": [1]}')
    with pytest.raises(FormatError, match="scalars"):
        read_files(tmp_path)


def test_results_belong_to_the_scan_and_frames_keep_their_columns():
    frames = toy_frames(SCAN, 2, 2)
    made = as_frames({"frames": np.ones((2, 4, 4))}, {"gain": 2.0}, frames)
    assert made.frames.dtype == np.float32
    assert made.scan.shape == (4, 4)
    assert made.index.tolist() == [2, 3]
    assert made.header.facts["gain"] == 2.0
    with pytest.raises(FormatError):
        as_frames({"frames": np.ones((3, 4, 4))}, {}, frames)
    assert as_result({}, {"a": 1}, SCAN).scan is SCAN


def test_a_block_of_many_large_arrays_and_what_is_no_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "LARGEST_BLOCK_BYTES", 24)
    layout = b'{"arrays": [["a", "<f8", [2]], ["b", "<f8", [2]]]}\n'
    with pytest.raises(FormatError, match="impossible shape"):
        list(decode_stream(io.BytesIO(layout + bytes(32))))
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(FormatError, match="no file"):
        read_files(tmp_path)


def test_a_small_file_that_announces_a_huge_array_is_refused(tmp_path):
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    head += b" " * (117 - len(head)) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(8))
    with pytest.raises(FormatError, match=r"x\.npy"):
        read_files(tmp_path)
