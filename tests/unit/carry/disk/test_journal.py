from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.block import Block, Header, RawFrames, Result
from camlink.carry.disk.journal import Damage, Journal, map_blocks, read_blocks, write_blocks
from camlink.errors import FormatError
from camlink.testing.toys import toy_frames, toy_scan

SCAN = toy_scan(10)


def result(version: int, source: str = "solve") -> Result:
    return Result(Header(scan=SCAN, made_s=time.time(), source=source, sequence=version),
                  {"object": np.full((2, 2), version)})


def indices(blocks: list[Block]) -> list[int]:
    return [int(block.index[0]) for block in blocks if isinstance(block, RawFrames)]


def test_what_was_appended_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.blocks"
    write_blocks(path, toy_frames(SCAN, 0, 3), toy_frames(SCAN, 3, 1))
    first, second = read_blocks(path)
    np.testing.assert_array_equal(first.arrays["frames"], toy_frames(SCAN, 0, 3).frames)
    assert (first.header.scan, indices([second])) == (SCAN, [3])


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_a_record_that_was_cut_ends_the_reading_and_the_next_one_takes_its_place(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.blocks"
    write_blocks(path, toy_frames(SCAN, 0, 1), toy_frames(SCAN, 1, 1))
    path.write_bytes(path.read_bytes()[:-cut])
    assert indices(list(read_blocks(path))) == [0]
    journal = Journal(path)
    assert indices(list(journal.replay())) == [0]
    journal.append(toy_frames(SCAN, 2, 1))
    journal.close(remove=False)
    assert indices(list(read_blocks(path))) == [0, 2]


def test_of_results_only_the_newest_of_each_source_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.blocks")
    for block in (result(0), toy_frames(SCAN, 0, 1), result(1), result(5, "stxm")):
        journal.append(block)
    found = list(Journal(tmp_path / "a.blocks").replay())
    assert [(b.header.source, b.header.sequence) for b in found] == [("", 0), ("solve", 1), ("stxm", 5)]
    journal.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_a_killed_attempt_wrote_in_half_spoils_no_later_one(tmp_path: Path) -> None:
    Journal(tmp_path / "a.blocks").append(result(0))
    (tmp_path / "a.solve.part").write_bytes((tmp_path / "a.solve.newest").read_bytes()[:-20])
    Journal(tmp_path / "a.blocks").append(result(1))
    assert [b.header.sequence for b in Journal(tmp_path / "a.blocks").replay()] == [1]


def test_damage_in_the_middle_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.blocks"
    write_blocks(path, toy_frames(SCAN, 0, 1), toy_frames(SCAN, 1, 1))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 4] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FormatError, match="checksum of the record is wrong"):
        list(read_blocks(path))


def three(path: Path) -> list[int]:
    """A journal of three blocks, and where each of its records ends."""
    ends = []
    for index in range(3):
        write_blocks(path, toy_frames(SCAN, index, 1))
        ends.append(path.stat().st_size)
    return ends


@pytest.mark.parametrize(("at", "value"), [(0, 0), (4, 255), (8, 1), (15, 0x7f), (17, 9), (30, 255), (-1, 255)])
def test_who_goes_on_from_a_journal_loses_the_damaged_block_alone_and_tells_where_it_was(
        tmp_path: Path, at: int, value: int) -> None:
    path = tmp_path / "a.blocks"
    first, second, _ = three(path)
    whole = bytearray(path.read_bytes())
    whole[first + at if at >= 0 else second + at] ^= value or 1
    path.write_bytes(whole)
    journal = Journal(path)
    assert indices(list(journal.replay())) == [0, 2]
    assert journal.damage == [Damage(path, first, second)]
    journal.append(toy_frames(SCAN, 3, 1))
    journal.close(remove=False)
    later, mapped = Journal(path), list[Damage]()
    assert indices(list(later.replay())) == indices(list(map_blocks(path, mapped))) == [0, 2, 3]
    assert later.damage == mapped == journal.damage


def test_what_follows_the_last_block_and_is_none_is_found_by_every_attempt(tmp_path: Path) -> None:
    path = tmp_path / "a.blocks"
    *_, end = three(path)
    with path.open("ab") as file:
        file.write(bytes(5000))  # as a file system may leave it when the power fails
    for found in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 3]):
        journal = Journal(path)
        assert (indices(list(journal.replay())), journal.damage) == (found, [Damage(path, end, end + 5000)])
        journal.append(toy_frames(SCAN, 3, 1))
        journal.close(remove=False)


@given(junk=st.binary(min_size=20, max_size=200))
def test_junk_is_no_journal(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("junk") / "a.blocks"
    path.write_bytes(junk)
    with pytest.raises(FormatError):
        list(read_blocks(path))
