"""The file of a writer that was killed is whole up to the last flush, at whatever write and page the kill came."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hdf5_tape import CHECKED, states, taped
from test_cxi_crash import block_of, check

from camlink.block import CountFrames, Header, Result, Scan
from camlink.carry.formats import cxi_write
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.formats.cxi_resume import go_on
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.carry.formats.recover import recover

pytestmark = pytest.mark.slow
SCAN = block_of(0).scan
TINY = Scan(id="tiny", expected=2000, shape=(8, 8), pixel_m=(3e-5, 3e-5), distance_m=0.1, energy_eV=700.0,
            span_m=(0.0, 0.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxi_write, "writer_text", lambda: "another-host 1 0.00")  # one that is gone
    monkeypatch.setattr("camlink.carry.formats.cxi_resume.writer_text", lambda: "another-host 1 0.00")
    monkeypatch.setattr(cxi_write, "_TILE", 32)  # small files: there are thousands of them


def small_result(version: int) -> Result:
    side = 40 + version % 30
    return Result(Header(scan=SCAN, made_s=0, sequence=version), {
        "object": np.full((side, side), version, np.complex64), "probe": np.full((1, 64, 64), version, np.complex64)})


def write(writer: CxiWriter, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Frames and version that are flushed, after each flush."""
    version = writer.result_version
    while first < end:
        block = block_of(first)
        writer.write_frames(block)
        first += block.count
        yield first, version
        if first % 3 == 0:
            writer.write_result(small_result(version + 1))
            version += 1
            yield first, version


def promised(marks: list[tuple[int, int, int]], count: int) -> tuple[int, int]:
    """Frames and version that had been flushed when `count` writes were done."""
    return next(mark[1:] for mark in reversed(marks) if mark[0] <= count)


@pytest.mark.timeout(300)
def test_every_write_of_a_writer_may_be_its_last(tmp_path: Path) -> None:
    path, killed = tmp_path / "a.cxi", tmp_path / "killed.cxi"
    with taped() as tape:
        writer = CxiWriter(path, SCAN, provenance={})
        marks = [(len(tape), 0, -1)]
        marks += [(len(tape), *done) for done in write(writer, 0, 25)]
        writer.close()
    image = bytearray()
    for made in tape[:marks[0][0]]:  # until then the file had no name
        made.put(image)
    seen = 0
    for count, state in states(image, tape[marks[0][0]:]):
        frames, version = promised(marks, marks[0][0] + count)
        if frames == 0:
            continue
        killed.write_bytes(state)
        found = recover(killed)
        assert found.frames >= frames
        assert found.version >= version
        check(killed, frames, version)
        seen += 1
    assert seen > 300
    assert image == path.read_bytes()


@pytest.mark.timeout(300)
def test_whoever_puts_the_file_in_order_or_goes_on_may_be_killed_too(tmp_path: Path) -> None:
    path, killed = tmp_path / "a.cxi", tmp_path / "killed.cxi"
    with taped() as tape, CxiWriter(path, SCAN, provenance={}) as writer:
        *_, (frames, version) = write(writer, 0, 20)
        whole = len(tape)
        writer.write_frames(block_of(frames))
        half = (whole + len(tape)) // 2
    image = bytearray()
    for made in tape[:half]:
        made.put(image)
    path.write_bytes(image)
    with taped() as tape:
        assert recover(path).needed
        ordered = len(tape)
        with go_on(path, SCAN) as writer:
            writer.write_frames(block_of(frames))
    for count, state in states(image, tape):
        killed.write_bytes(state)
        found = recover(killed)
        assert found.frames >= frames
        assert found.version >= version
        assert found.needed or count >= ordered - 1, "half in order, and nobody puts it right"
        check(killed, frames, version)


def test_nothing_that_carries_a_checksum_lies_across_pages(tmp_path: Path) -> None:
    path, killed = tmp_path / "a.cxi", tmp_path / "killed.cxi"
    with taped() as tape, CxiWriter(path, TINY, provenance={}) as writer:
        marks = [(len(tape), 0, -1)]
        for first in range(0, TINY.expected, 2):
            writer.write_frames(tiny_block(first))
            marks.append((len(tape), first + 2, -1))
    assert not [made for made in tape if made.borders and made.data is not None and made.data.startswith(CHECKED)]
    assert len({made.offset for made in tape if made.data is not None and made.data.startswith(b"BTIN")}) > 2
    image = bytearray()
    for count, made in enumerate(tape):
        if count > marks[1][0] and count % 61 == 0:
            killed.write_bytes(image)
            frames, _ = promised(marks, count)
            with read_cxi(killed) as found:
                assert found.frames is not None
                assert len(found.frames) >= frames
                np.testing.assert_array_equal(found.frames.read(0, frames)[:, 0, 0], np.arange(frames))
        made.put(image)


def tiny_block(first: int) -> CountFrames:
    index = np.arange(first, first + 2)
    return CountFrames(Header(scan=TINY, made_s=0), {
        "frames": np.broadcast_to(index[:, None, None], (2, 8, 8)).astype(np.float32), "index": index, "point": index,
        "kind": np.ones(2, np.uint8), "dwell_s": np.ones(2), "position_m": np.zeros((2, 2)), "time_s": np.zeros(2)})
