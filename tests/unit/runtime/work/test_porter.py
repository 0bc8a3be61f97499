from __future__ import annotations

from pathlib import Path

import pytest

from camlink.block import RawFrames
from camlink.carry.disk.journal import read_blocks
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.porter import DEAD_LETTERS, JOURNALS, Porter
from camlink.testing.toys import toy_frames, toy_scan


def porter(folder: Path, attempt: int, kept: str = "none") -> Porter:
    spec = WorkerSpec(operator="solve", replica=0, where="m:f", kind="solver", parameters={}, inputs=(), outputs=(),
                      folder=str(folder), sockets=str(folder), provenance={}, attempt=attempt)
    return Porter(spec, "frames", None, once=True, kept=kept)


@pytest.mark.parametrize("cut", [1, 300, 1000])
def test_a_worker_that_was_killed_over_a_dead_letter_spoils_none_of_its_replacements(tmp_path: Path, cut: int) -> None:
    blocks = [toy_frames(toy_scan(9), index, 1) for index in range(3)]
    first = porter(tmp_path, 0)
    first.put_aside(blocks[0], "poison")
    first.put_aside(blocks[1], "poison")
    letters = tmp_path / DEAD_LETTERS / "solve-0-frames.blocks"
    with letters.open("r+b") as file:
        file.truncate(letters.stat().st_size - cut)
    second = porter(tmp_path, 1)
    assert second.aside == {"poison": 1}
    second.put_aside(blocks[1], "poison")
    second.put_aside(blocks[2], "poison")
    assert porter(tmp_path, 2).aside == {"poison": 3}
    found = [block for block in read_blocks(letters) if isinstance(block, RawFrames)]
    assert [int(block.index[0]) for block in found] == [0, 1, 2]


def test_what_is_damaged_in_a_journal_or_among_dead_letters_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    first = porter(tmp_path, 0, "all")
    for index in range(3):
        first.keep(toy_frames(toy_scan(9), index, 2))
        first.put_aside(toy_frames(toy_scan(9), 6 + index, 1), "poison")
    first.close(well=False)
    files = [tmp_path / folder / "solve-0-frames.blocks" for folder in (DEAD_LETTERS, JOURNALS)]
    for path in files:
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)
    second = porter(tmp_path, 1, "all")
    assert [block.count for block in second.earlier() or ()] == [2, 2]
    assert (second.recalled, first.remembered, second.aside) == (6, 6, {"poison": 2, "its journal is damaged": 2})
    assert [one.partition(":")[0] for one in second.damage] == list(map(str, files))
