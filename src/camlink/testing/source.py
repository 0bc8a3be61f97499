"""check_source: what every source must keep, ours and those of plug-ins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from camlink.block import Block, Frames
from camlink.runtime.work.work import blocks_of
from camlink.testing.context import RecordingContext
from camlink.testing.manners import Kept, bounded, check_block, check_described, frames_of
from camlink.workflow.operator import Kind, Operator
from camlink.workflow.port import Listed

MOST_MORE: Final = 2
"""Blocks that may have been on their way when a source was asked to stop."""


def _nothing(_: Block) -> None:
    return None


class Source(NamedTuple):
    """A source under test: its parameters, a folder, what feeds its inputs anew each time, and who sees its blocks.

    `seen(block)` is called for each block before the next is asked for: start there what answers a plan.
    """

    operator: Operator
    folder: Path
    values: Mapping[str, Any] = {}
    feeds: Callable[[], Mapping[str, Iterable[Block]]] = dict
    seen: Callable[[Block], None] = _nothing

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.operator.name

    def play(self, stop_after: int = 1 << 60,
             given: frozenset[int] = frozenset()) -> tuple[Kept, RecordingContext]:
        """Run it in bounded time; it is asked to stop after so many blocks, and for all frames but those `given`."""
        record = check_described(self.operator, self.values)
        context, kept = RecordingContext(self.folder, "source"), Kept()
        context.given = given

        def run() -> None:
            if self.operator.prepare is not None:
                self.operator.prepare(record)
            feeds = self.feeds()
            body = self.operator.make(record, context)
            for _, block in blocks_of(body(*(Listed(feeds[port.name]) for port in self.operator.inputs)),
                                      self.operator.outputs[0].name):
                kept.add(block)
                self.seen(block)
                if len(kept.blocks) >= stop_after:
                    context.stop()

        bounded(run, f"source {self.name}" + (" after it was asked to stop" if stop_after < 1 << 60 else ""))
        return kept, context


def check_description(source: Source) -> None:
    """It is a source with outputs, and can be made in another process."""
    assert source.operator.kind is Kind.SOURCE, f"{source.name} is a {source.operator.kind}; say kind='source'"
    assert source.operator.outputs, f"{source.name} gives nothing: its return hint names no Block"
    check_described(source.operator, source.values)


def check_blocks(source: Source) -> None:
    """Every block is what its port says, travels, and is not changed after it was given out."""
    kept, _ = source.play()
    assert kept.blocks, f"{source.name} gave nothing; give it values or feeds with which it has something to give"
    for block in kept.blocks:
        check_block(block, source.operator.outputs, source.name)
    kept.check_unchanged(f"{source.name}: block")


def check_frames(source: Source) -> None:
    """Each frame is given once, as large as the scan says, and there are no more than were expected."""
    kept, _ = source.play()
    twice = [key for key, n in Counter(frames_of(kept.blocks)).items() if n > 1]
    assert not twice, f"{source.name} gave frames twice: {twice[:5]}; a frame has one index in its scan"
    for block in kept.blocks:
        if isinstance(block, Frames):
            assert block.frames.shape[1:] == block.scan.shape, (
                f"{source.name}: frames of {block.frames.shape[1:]} in a scan of {block.scan.shape}")
            assert (block.index >= 0).all()
    given = Counter(scan for scan, _ in frames_of(kept.blocks))
    expected = {block.scan.id: block.scan.expected for block in kept.blocks}
    for scan, n in given.items():
        assert n <= expected[scan], f"{source.name}: {n} frames of scan '{scan}', which expects {expected[scan]}"


def check_counts(source: Source) -> None:
    """What it tells of its frames is what it gave: captured = given, expected = captured + lost."""
    kept, context = source.play()
    facts, given = context.facts, len(set(frames_of(kept.blocks)))
    if not given:
        return
    assert "frames_expected" in facts, f"{source.name} does not tell frames_expected; the verdict needs it"
    assert "frames_captured" in facts, f"{source.name} does not tell frames_captured; the verdict needs it"
    assert facts["frames_captured"] == given, (
        f"{source.name} told of {facts['frames_captured']} frames captured and gave {given}")
    lost = facts.get("frames_lost", {})
    assert isinstance(lost, dict)
    assert facts["frames_expected"] == given + sum(lost.values()), (
        f"{source.name}: {facts['frames_expected']} expected, {given} given, lost {lost}; one state for every frame")


def check_stop(source: Source) -> None:
    """Asked to stop after its first block, it ends soon and well, also when there is more to give."""
    kept, _ = source.play(stop_after=1)
    assert 1 <= len(kept.blocks) <= 1 + MOST_MORE, (
        f"{source.name} gave {len(kept.blocks)} blocks though it was asked to stop after the first; look at "
        "context.stopping() before each")


def check_resumes(source: Source) -> None:
    """One that resumes gives nothing again that earlier attempts gave, and everything else that it has by itself."""
    if not source.operator.resumes or source.operator.inputs:  # what a camera sent meanwhile is gone
        return
    kept, _ = source.play()
    before = {index for _, index in frames_of(kept.blocks[:(len(kept.blocks) + 1) // 2])}
    wanted = {index for _, index in frames_of(kept.blocks)} - before
    again, _ = source.play(given=frozenset(before))
    found = {index for _, index in frames_of(again.blocks)}
    twice = sorted(found & before)
    assert not twice, f"{source.name} gave frames again that are in context.given: {twice[:5]}"
    assert found == wanted, f"{source.name} resumed without the frames {sorted(wanted - found)[:5]}"


SOURCE_CHECKS: Final[dict[str, Callable[[Source], None]]] = {
    check.__name__.removeprefix("check_"): check for check in (
        check_description, check_blocks, check_frames, check_counts, check_stop, check_resumes)}


def check_source(source: Source) -> None:
    """Run every check; raises AssertionError that says what the source does not keep."""
    for check in SOURCE_CHECKS.values():
        check(source)
