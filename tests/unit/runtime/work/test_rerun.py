"""Rerun: what an operator raises on becomes a dead letter, and everything else is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from camlink.block import CountFrames, RawFrames, Result
from camlink.carry.disk.journal import read_blocks
from camlink.errors import OperatorFailed, StorageError
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.hand import Hand
from camlink.runtime.work.rerun import Rerun
from camlink.testing import toys
from camlink.workflow.join import Join
from camlink.workflow.operator import operator
from camlink.workflow.port import Inflow

SPEC = WorkerSpec(operator="tried", replica=0, where="", kind="transform", parameters={}, inputs=(), outputs=(),
                  folder="", sockets="", provenance={})


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    (tmp_path / "journal").mkdir()
    (tmp_path / "log").mkdir()
    return msgspec.structs.replace(SPEC, folder=str(tmp_path))


def frames(*indices: int) -> list[Any]:
    scan = toys.toy_scan(20)
    return [stamped(toys.toy_frames(scan, index, 1), index) for index in indices]


def stamped(block: RawFrames, sequence: int) -> RawFrames:
    return RawFrames(msgspec.structs.replace(block.header, source="camera", sequence=sequence), block.arrays)


def rerun(spec: WorkerSpec, tried: Any, **inputs: list[Any]) -> tuple[list[int], dict[str, int]]:
    """The indices of all frames that came of it, and what was set aside."""
    made = Rerun(spec, tried, lambda: tried.make(tried.parameters(), None), inputs)
    return [int(i) for _, block in made for i in block.arrays["index"]], made.aside


def letters(spec: WorkerSpec) -> list[int]:
    return [int(block.arrays["index"][0]) for path in sorted(Path(spec.folder, "dead-letters").iterdir())
            for block in read_blocks(path)]


@operator("picky")
def picky(frames: RawFrames) -> RawFrames:
    """Raise at every fifth frame."""
    if not int(frames.index[0]) % 5:
        raise ValueError("poison")
    return frames


@operator("picky_stream", kind="solver")
def picky_stream(frames: Inflow[RawFrames]) -> Iterator[RawFrames]:
    """Raise at every fifth frame."""
    for block in frames:
        yield from [picky.make(None, None)(block)]


@operator("picky_pair")
def picky_pair(left: RawFrames, right: RawFrames) -> RawFrames:
    """Raise at every fifth frame."""
    assert left.index.tolist() == right.index.tolist()
    return picky.make(None, None)(left)


def test_the_rest_goes_on_and_the_next_time_a_dead_letter_is_not_tried_again(spec: WorkerSpec) -> None:
    for _ in range(2):
        made, aside = rerun(spec, picky, frames=frames(*range(12)))
        assert made == [n for n in range(12) if n % 5]
        assert aside == {"ValueError: poison": 3}
        assert letters(spec) == [0, 5, 10]


def test_an_inflow_begins_anew_without_what_it_raised_on(spec: WorkerSpec) -> None:
    made, aside = rerun(spec, picky_stream, frames=frames(*range(12)))
    assert made[-9:] == [n for n in range(12) if n % 5]
    assert aside == {"ValueError: poison": 3}


def test_in_a_row_are_only_blocks_that_follow_each_other(spec: WorkerSpec) -> None:
    made, aside = rerun(spec, picky_stream, frames=frames(*range(60)))
    assert made[-48:] == [n for n in range(60) if n % 5]
    assert aside == {"ValueError: poison": 12}
    with pytest.raises(OperatorFailed, match="10 blocks in a row"):
        rerun(spec, picky_stream, frames=frames(1, *range(100, 160, 5), 3))


def test_of_a_join_every_branch_has_a_letter_and_the_frame_counts_once(spec: WorkerSpec) -> None:
    made, aside = rerun(msgspec.structs.replace(spec, join=Join("frame", 4)), picky_pair, left=frames(*range(1, 9)),
                        right=frames(*range(8, 0, -1)))
    assert sorted(made) == [1, 2, 3, 4, 6, 7, 8]
    assert aside == {"ValueError: poison": 1}
    assert letters(spec) == [5, 5]


def test_a_block_that_ended_the_process_is_set_aside_the_next_time(spec: WorkerSpec) -> None:
    left = Hand(msgspec.structs.replace(spec, attempt=1, sockets=str(Path(spec.folder) / "journal")))
    left.take(frames(7)[0])  # and no `close`: it was killed
    made, aside = rerun(spec, picky, frames=frames(6, 7, 8))
    assert made == [6, 8]
    assert aside == {"it ended the process that finished the run": 1}
    assert list((Path(spec.folder) / "journal").iterdir()) == []


def test_what_is_about_more_than_a_block_is_raised(spec: WorkerSpec) -> None:
    @operator("full")
    def full(frames: Inflow[RawFrames]) -> Iterator[Result]:
        for _ in frames:
            raise StorageError("no room")
        yield Result(frames, {})

    @operator("broken")
    def broken(frames: RawFrames) -> CountFrames:
        raise ValueError(str(frames.index))

    with pytest.raises(StorageError, match="no room"):
        rerun(spec, full, frames=frames(1))
    with pytest.raises(OperatorFailed, match="10 blocks in a row"):
        rerun(spec, broken, frames=frames(*range(20)))


@operator("late_stream", kind="solver")
def late_stream(frames: Inflow[RawFrames]) -> Iterator[Result]:
    """Raise when everything was taken."""
    for block in frames:
        yield Result(block.header, {})
    raise ValueError("at the end")


def test_what_is_raised_after_the_last_block_is_blamed_on_none(spec: WorkerSpec) -> None:
    with pytest.raises(OperatorFailed, match="ValueError: at the end"):
        list(Rerun(spec, late_stream, lambda: late_stream.make(None, None), {"frames": frames(*range(3))}))
    assert not Path(spec.folder, "dead-letters").exists()


@pytest.mark.parametrize("streams", [False, True], ids=["by block", "as a stream"])
def test_who_ends_the_process_after_the_last_block_leaves_none_in_the_hand(spec: WorkerSpec, streams: bool) -> None:
    hand, seen = Path(spec.folder, "journal", "tried-0-1.hand"), []

    @operator("blocks")
    class Blocks:
        """Looks at the hand in its work and at its end."""

        def __call__(self, frames: RawFrames) -> RawFrames:
            seen.append(hand.read_bytes()[:1] != b"\0")
            return frames

        def finish(self) -> None:
            seen.append(hand.read_bytes()[:1] != b"\0")

    @operator("stream", kind="solver")
    def stream(frames: Inflow[RawFrames]) -> Iterator[RawFrames]:
        body = Blocks.make(None, None)
        yield from map(body, frames)
        body.finish()

    made, _ = rerun(spec, stream if streams else Blocks, frames=frames(1, 2))
    assert (made, seen) == ([1, 2], [True, True, False])
