"""Given: what it names was given, whatever the disk does and however a scan is called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from camlink.block import RawFrames
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.flow import Outbox
from camlink.runtime.work.given import Given, path_of, read_given
from camlink.testing.toys import toy_frames, toy_scan

Limit = Callable[[int], AbstractContextManager[None]]


def spec(folder: Path, attempt: int = 0) -> WorkerSpec:
    return WorkerSpec(operator="camera", replica=0, where="m:f", kind="source", parameters={}, inputs=(), outputs=(),
                      folder=str(folder), sockets=str(folder), provenance={}, attempt=attempt)


def frames(index: int, scan: str = "toy") -> RawFrames:
    block = toy_frames(toy_scan(100), index, 1)
    header = msgspec.structs.replace(block.header, scan=msgspec.structs.replace(block.scan, id=scan))
    return RawFrames(header, block.arrays)


def note(given: Given, *blocks: RawFrames) -> None:
    nobody = Outbox("camera", [], lambda: None)  # so that all is settled
    for block in blocks:
        given.note(nobody, nobody.send(block), block)


@pytest.mark.parametrize("room", range(6, 40))
def test_no_frame_is_named_that_was_not_given_though_the_disk_took_a_part(tmp_path: Path, room: int,
                                                                          files_of_at_most: Limit) -> None:
    given = Given(spec(tmp_path))
    with files_of_at_most(room):
        note(given, *map(frames, range(5)))
    note(given, *map(frames, range(5, 8)))
    given.close(well=False)
    found = read_given(spec(tmp_path, 1))
    assert {5, 6, 7} <= found <= set(range(8))


@pytest.mark.parametrize("scan", ["toy", "", "a\nscan", "\n\n", "Ü/../7\0"])
def test_a_scan_may_have_any_name(tmp_path: Path, scan: str) -> None:
    given = Given(spec(tmp_path))
    note(given, *(frames(index, scan) for index in range(3)))
    given.close(well=False)
    again = Given(spec(tmp_path, 1))
    note(again, frames(10, scan))
    again.close(well=False)
    assert read_given(spec(tmp_path, 2)) == {0, 1, 2, 10}
    note(last := Given(spec(tmp_path, 2)), frames(3, "another"))
    last.close(well=False)
    assert read_given(spec(tmp_path, 3)) == {3}


def test_a_file_of_something_else_names_nothing(tmp_path: Path) -> None:
    path = path_of(spec(tmp_path))
    path.parent.mkdir()
    path.write_bytes(b"toy\n" + bytes(16))
    assert read_given(spec(tmp_path, 1)) == frozenset()
