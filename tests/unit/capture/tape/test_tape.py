from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from camlink.block import Block, RawFrames, Result
from camlink.capture.tape.faults import TapeFaults, Timed, spoiled
from camlink.capture.tape.source import TapeParameters, counts, raw
from camlink.carry.disk.journal import read_blocks, write_blocks
from camlink.deliver.tap import TapParameters, tap
from camlink.errors import FormatError, InputError, ParameterError
from camlink.testing.context import RecordingContext
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.port import Listed

SCAN = toy_scan(100)


def blocks() -> list[RawFrames]:
    return [toy_frames(SCAN, index, 1) for index in range(100)]


def played(faults: str) -> tuple[list[int], Counter[str]]:
    lost: Counter[str] = Counter()
    timed = [Timed(index * 0.1, block) for index, block in enumerate(blocks())]
    out = list(spoiled(timed, TapeFaults.parse(faults), lost))
    assert [one.due_s for one in out] == sorted(one.due_s for one in out)
    return [int(one.block.arrays["index"][0]) for one in out], lost


def test_without_faults_everything_passes_as_it_was() -> None:
    assert played("") == (list(range(100)), Counter())


def test_faults_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    text = "late=0.1,lost=0.1,duplicated=0.1,reordered=0.1,corrupt=0.1,seed="
    assert played(text + "1") == played(text + "1") != played(text + "2")


def test_what_is_counted_as_lost_and_what_comes_are_all_frames() -> None:
    indices, lost = played("lost=0.2,corrupt=0.3,duplicated=0.5,late=0.1,reordered=0.1")
    assert len(set(indices)) + sum(lost.values()) == 100


@pytest.mark.parametrize("fault", ["late", "reordered"])
def test_what_is_late_or_out_of_order_comes_all_the_same(fault: str) -> None:
    indices, lost = played(f"{fault}=0.3")
    assert sorted(indices) == list(range(100)) != indices
    assert not lost


def test_what_is_lost_or_corrupt_is_counted_and_what_is_duplicated_comes_twice() -> None:
    indices, lost = played("lost=0.2,corrupt=0.2")
    assert set(lost) == {"lost by the replay", "corrupt and refused"}
    assert len(indices) + sum(lost.values()) == 100
    twice, _ = played("duplicated=0.3")
    assert set(twice) == set(range(100))
    assert len(twice) > 110


def test_a_tap_writes_what_passes_and_a_tape_source_plays_it(tmp_path: Path) -> None:
    context = RecordingContext(tmp_path)
    tap.make(TapParameters(), context)(Listed[Block](blocks()))
    assert context.facts["frames_written"] == 100
    tape = str(tmp_path / "tape.blocks")
    out = list(raw.make(TapeParameters(file=tape, speed=0.0, faults="lost=0.1,seed=4"), context)())
    told = context.facts
    assert told["frames_expected"] == 100
    assert told["frames_captured"] == len(out) == 100 - told["frames_lost"]["lost by the replay"]  # type: ignore[index]
    context.given = frozenset(range(60))
    again = list(raw.make(TapeParameters(file=tape, speed=0.0), context)())
    assert [int(block.index[0]) for block in again] == list(range(60, 100))
    assert context.facts["frames_captured"] == 100
    with pytest.raises(FormatError, match="holds RawFrames, not CountFrames"):
        list(counts.make(TapeParameters(file=tape, speed=0.0), context)())


def test_a_tape_of_results_is_refused_as_what_it_is(tmp_path: Path) -> None:
    write_blocks(tmp_path / "results.blocks", Result(blocks()[0].header, {}))
    with pytest.raises(FormatError, match="holds Result, not CountFrames"):
        list(counts.make(TapeParameters(file=str(tmp_path / "results.blocks")), RecordingContext(tmp_path))())


def test_two_taps_do_not_mix_their_blocks_in_one_file(tmp_path: Path) -> None:
    def other() -> Iterator[Block]:
        for attempt in (0, 1):
            context = RecordingContext(tmp_path)
            context.attempt = attempt
            with pytest.raises(ParameterError, match="another tap writes"):
                tap.make(TapParameters(), context)(Listed[Block](blocks()[50:]))
        yield from blocks()[1:3]

    tap.make(TapParameters(), RecordingContext(tmp_path))(itertools.chain(blocks()[:1], other()))
    assert [block.arrays["index"][0] for block in read_blocks(tmp_path / "tape.blocks")] == [0, 1, 2]
    replaced = RecordingContext(tmp_path)
    replaced.attempt = 1
    tap.make(TapParameters(), replaced)(Listed[Block](blocks()[:2]))
    assert [block.arrays["index"][0] for block in read_blocks(tmp_path / "tape.blocks")] == [0, 1]


@pytest.mark.parametrize("text", ["nonsense=1", "lost=2", "lost"])
def test_a_fault_that_cannot_be_is_said(text: str) -> None:
    with pytest.raises(InputError):
        TapeFaults.parse(text)
