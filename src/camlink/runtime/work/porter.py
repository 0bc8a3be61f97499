"""Porter: stands at an input port; lets each block in once, keeps a journal, sets aside what nobody can bear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.block import Block, Frames
from camlink.carry.disk.journal import SUFFIX, Journal, write_blocks
from camlink.errors import StorageError
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.hand import Hand, key_of
from camlink.runtime.work.seen import Seen

JOURNALS: Final = "journal"
DEAD_LETTERS: Final = "dead-letters"
DAMAGED: Final = "its journal is damaged"


class Porter:
    """Admits the blocks of a port, keeps what the next attempt would need, and sets aside what nobody can bear.

    `kept` tells which blocks are kept: none, every one when it is taken, or those that the operator names afterwards.
    `remembered` counts the frames in the journal, `recalled` those that earlier attempts left there; -1 until it has
    read them all.
    """

    def __init__(self, spec: WorkerSpec, port: str, hand: Hand | None, *, once: bool, kept: str = "none") -> None:
        self._spec, self._hand, self._once, self._kept = spec, hand, once, kept
        folder = Path(spec.folder)
        self._journal = Journal(folder / JOURNALS / f"{spec.operator}-{spec.replica}-{port}{SUFFIX}")
        self._letters = folder / DEAD_LETTERS / f"{spec.operator}-{spec.replica}-{port}{SUFFIX}"
        self._seen: dict[tuple[str, str, bool], Seen] = {}
        self.set_aside = dict(spec.set_aside)
        self.aside: dict[str, int] = {}
        self.again = spec.attempt > 0
        self.repeated = 0
        self.recalled, self.remembered = (-1 if spec.attempt and kept != "none" else 0), 0
        self.broken = ""
        self._known = False
        self._lie_there: set[str] = set()
        self._before = Journal(self._letters)
        if spec.attempt:
            for letter in self._before.replay():  # one that was cut is taken off: others follow it
                self._count_aside(letter, str(letter.header.facts.get("error", "")),
                                  counts=bool(letter.header.facts.get("counts", True)))

    @property
    def damage(self) -> list[str]:
        """What could not be read of what earlier attempts left."""
        return [str(one) for one in (*self._before.damage, *self._journal.damage)]

    def earlier(self) -> Iterator[Block] | None:
        """What earlier attempts of this worker had taken."""
        return self._recall() if self._kept != "none" and self._spec.attempt else None

    def _recall(self) -> Iterator[Block]:
        for block in self._journal.replay():
            self.remembered += block.count if isinstance(block, Frames) else 0
            yield block
        if damaged := sum(one.end - one.begin for one in self._journal.damage if one.path == self._journal.path):
            whole = self._journal.path.stat().st_size - damaged
            frames = max(round(damaged * self.remembered / max(whole, 1)), 1)  # as many as so many bytes hold elsewhere
            self.aside[DAMAGED] = frames
            self.remembered += frames
        self.recalled = self.remembered

    def admit(self, block: Block) -> Block | None:
        """The block, or what of it was not seen before; None when nothing is left of it."""
        if self.set_aside and (reason := self.set_aside.get(key_of(block))):
            self.put_aside(block, reason)
            return None
        return self._fresh(block) if self._once else block

    def lies_aside(self, block: Block) -> bool:
        """Whether it is a dead letter."""
        return key_of(block) in self._lie_there

    def hold(self, block: Block, *, known: bool = False) -> None:
        """The operator works on this block from now; `known` when it comes from the journal."""
        self._known = known
        if self._hand is not None:
            self._hand.take(block)

    def empty(self) -> None:
        """The operator is done with what it held."""
        if self._hand is not None:
            self._hand.empty()

    def keep_first(self, block: Block) -> None:
        """Before the operator sees a block: keep it, where every block is kept."""
        if self._kept == "all":
            self.keep(block)

    def keep_after(self, block: Block, body: Any) -> None:
        """After the operator has worked on a block: keep it, unless it says that its state does not need it."""
        needs = getattr(body, "needs_again", None)
        if self._kept == "after" and not self._known and (needs is None or needs(block)):
            self.keep(block)

    def keep(self, block: Block) -> None:
        """Append to the journal; when the disk refuses, the worker goes on, but cannot be replaced any more."""
        if self.broken:
            return
        try:
            self._journal.append(block)
            self.remembered += block.count if isinstance(block, Frames) else 0
        except StorageError as error:
            self.broken = str(error)

    def put_aside(self, block: Block, reason: str, *, counts: bool = True) -> None:
        """Keep a block that nobody can work on, with the reason, as a dead letter; once, however often it comes.

        It `counts` as lost frames, unless another branch of a join has the same frames.
        """
        if not self._count_aside(block, reason, counts=counts):
            return
        facts = {**block.header.facts, "set_aside_by": self._spec.operator, "error": reason, "counts": counts}
        letter = type(block)(msgspec.structs.replace(block.header, facts=facts), block.arrays)
        self._fresh(block)
        try:
            write_blocks(self._letters, letter)
        except StorageError as error:
            self.broken = self.broken or str(error)

    def close(self, *, well: bool) -> None:
        """The worker has ended; its journal goes when it ended well."""
        self._journal.close(remove=well)

    def _count_aside(self, block: Block, reason: str, *, counts: bool) -> bool:
        key = key_of(block)
        if key in self._lie_there:
            return False
        self._lie_there.add(key)
        if counts:
            self.aside[reason] = self.aside.get(reason, 0) + block.count
        return True

    def _fresh(self, block: Block) -> Block | None:
        head = block.header
        numbers = block.index.tolist() if isinstance(block, Frames) else [head.sequence]
        rows = self._seen.setdefault((head.source, head.scan.id, isinstance(block, Frames)), Seen()).add(numbers)
        if len(rows) == len(numbers):
            return block
        self.repeated += len(numbers) - len(rows)
        return block.rows(list(rows)) if isinstance(block, Frames) and rows else None
