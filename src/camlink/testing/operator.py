"""check_operator: what every transform, solver, decision, sink and view must keep, ours and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from camlink.block import Block, Frames
from camlink.runtime.work.work import blocks_of
from camlink.testing.context import RecordingContext
from camlink.testing.manners import Kept, bounded, check_block, check_described, frames_of, frozen, said
from camlink.workflow.operator import Kind, Operator
from camlink.workflow.port import Listed

Feeds = Mapping[str, Sequence[Block]]


class Tried(NamedTuple):
    """An operator under test, its parameters, a folder, and the blocks of each input.

    Of a join the blocks of all inputs belong together: as many for each, with the same frames.
    """

    operator: Operator
    folder: Path
    feeds: Feeds
    values: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.operator.name

    def work(self, feeds: Feeds, *, attempt: int = 0) -> tuple[Kept, RecordingContext]:
        """Run it over `feeds` to its end, in bounded time; what it gave."""
        context = RecordingContext(self.folder, "tried")
        context.attempt = attempt
        return self.share(feeds, [context]), context

    def share(self, feeds: Feeds, contexts: Sequence[RecordingContext]) -> Kept:
        """What as many replicas as there are contexts give, which take the blocks in turn."""
        operator, record, kept = self.operator, check_described(self.operator, self.values), Kept()
        (self.folder / "log").mkdir(parents=True, exist_ok=True)

        def run() -> None:
            if operator.prepare is not None:
                operator.prepare(record)
            for given in _calls(operator, [operator.make(record, context) for context in contexts], feeds):
                for _, block in blocks_of(given, operator.outputs[0].name if operator.outputs else ""):
                    kept.add(block)

        bounded(run, f"operator {self.name}")
        return kept


def _calls(operator: Operator, bodies: Sequence[Any], feeds: Feeds) -> Iterable[Any]:
    """What the bodies give, as the runtime calls them."""
    inputs = [feeds[port.name] for port in operator.inputs]
    if operator.streams:
        yield bodies[0](*(Listed(blocks) for blocks in inputs))
        return
    for number, blocks in enumerate(zip(*inputs, strict=True)):
        yield bodies[number % len(bodies)](*blocks)
    for body in bodies:
        finish = getattr(body, "finish", None)
        if finish is not None:
            yield finish()


def check_description(tried: Tried) -> None:
    """It has inputs, each with blocks to try, and can be made in another process."""
    assert tried.operator.kind is not Kind.SOURCE, f"{tried.name} is a source; use check_source"
    assert tried.operator.inputs, f"{tried.name} takes nothing: no argument is typed as a Block or an Inflow"
    for port in tried.operator.inputs:
        for block in tried.feeds[port.name]:
            assert isinstance(block, port.block), f"the feed of {port.name} has a {type(block).__name__}"
    check_described(tried.operator, tried.values)


def check_blocks(tried: Tried) -> None:
    """It changes nothing that it took; what it gives is what its ports say, travels, and is not changed later."""
    taken = Kept()
    for blocks in tried.feeds.values():
        for block in blocks:
            taken.add(frozen(block))
    left = iter(taken.blocks)
    kept, _ = tried.work({name: [next(left) for _ in blocks] for name, blocks in tried.feeds.items()})
    taken.check_unchanged(f"{tried.name}: the block that it took, number")
    if tried.operator.outputs:
        assert kept.blocks, f"{tried.name} gave nothing; give it feeds of which it makes something"
    for block in kept.blocks:
        check_block(block, tried.operator.outputs, tried.name)
    kept.check_unchanged(f"{tried.name}: the block that it gave, number")


def check_names(tried: Tried) -> None:
    """Frames keep scan and size: what it gives belongs to a scan that it was given, as large as the header says."""
    kept, _ = tried.work(tried.feeds)
    scans = {block.scan.id for blocks in tried.feeds.values() for block in blocks}
    for block in kept.blocks:
        assert block.scan.id in scans, f"{tried.name} gave a block of scan '{block.scan.id}', which nobody gave it"
        if isinstance(block, Frames):
            assert block.frames.shape[1:] == block.scan.shape, (
                f"{tried.name}: frames of {block.frames.shape[1:]}, but scan.shape says {block.scan.shape}; set both")
    strange = set(frames_of(kept.blocks)).difference(*(frames_of(blocks) for blocks in tried.feeds.values()))
    assert not strange or tried.operator.kind is not Kind.TRANSFORM, (
        f"{tried.name} gave frames that nobody gave it: {sorted(strange)[:5]}; a frame keeps its index on its way")
    twice = len(list(frames_of(kept.blocks))) - len(set(frames_of(kept.blocks)))
    assert not twice, f"{tried.name} gave {twice} frames twice; a frame has one index in its scan"


def check_empty(tried: Tried) -> None:
    """When nothing comes it ends, well or with an exception of ours that says so."""
    empty = tried._replace(folder=tried.folder / "empty")
    assert said(lambda: empty.work({name: [] for name in tried.feeds})) != "", f"{tried.name} failed without a word"


def check_next_attempt(tried: Tried) -> None:
    """An attempt that takes its place is given everything again, in the same folder, and leaves the same files.

    They are as large as before, as far as two first attempts leave files of the same size.
    """
    there = tried._replace(folder=tried.folder / "again")
    _, before = there.work(tried.feeds)
    files = _files(there.folder)
    _, after = there.work(tried.feeds, attempt=1)
    left = _files(there.folder)
    assert left.keys() == files.keys(), (
        f"{tried.name}: the next attempt left other files: {sorted(left.keys() ^ files.keys())}")
    if left != files:
        once = tried._replace(folder=tried.folder / "once")
        once.work(tried.feeds)
        first = _files(once.folder)
        grown = [name for name, size in left.items() if first.get(name) == files[name] != size]
        assert not grown, f"{tried.name}: the next attempt left files of another size: {grown}; begin them anew"
    assert before.facts.get("files") == after.facts.get("files")


def check_optional(tried: Tried) -> None:
    """An input of a join that may miss does miss."""
    for port in tried.operator.inputs:
        if port.optional:
            feeds: Any = {**tried.feeds, port.name: [None] * len(tried.feeds[port.name])}
            tried._replace(folder=tried.folder / "without").work(feeds)


def check_replicas(tried: Tried) -> None:
    """Of an operator whose replicas may join: two that share the blocks give the same frames as one."""
    if not tried.operator.scalable:
        return
    one, two = (tried._replace(folder=tried.folder / name) for name in ("alone", "shared"))
    contexts = [RecordingContext(two.folder, "tried") for _ in range(2)]
    contexts[1].replica = 1
    alone, shared = one.share(tried.feeds, [RecordingContext(one.folder, "tried")]), two.share(tried.feeds, contexts)
    differ = set(frames_of(alone.blocks)) ^ set(frames_of(shared.blocks))
    assert not differ, (f"{tried.name}: it is not independent: two replicas do not give the frames that one gives: "
                        f"{sorted(differ)[:5]}")


def _files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


OPERATOR_CHECKS: Final[dict[str, Callable[[Tried], None]]] = {
    check.__name__.removeprefix("check_"): check for check in (
        check_description, check_blocks, check_names, check_empty, check_next_attempt, check_replicas,
        check_optional)}


def check_operator(tried: Tried) -> None:
    """Run every check; raises AssertionError that says what the operator does not keep."""
    for check in OPERATOR_CHECKS.values():
        check(tried)
