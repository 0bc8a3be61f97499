"""Joined: the inputs of an operator that joins; takes from each branch as far as the skew allows, gives meetings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from camlink.block import Block, Frames
from camlink.errors import WireError
from camlink.runtime.work.flow import SLICE_S, Inbox
from camlink.runtime.work.meetings import Meeting, Meetings, Piece
from camlink.runtime.work.order import KEYS_OF_A_SCAN
from camlink.runtime.work.porter import Porter
from camlink.workflow.join import Join
from camlink.workflow.port import Port

Given = dict[str, Frames | None]
EVERYTHING: Final = 1 << 62
_MISSING: Final = "missing"


class Joined:
    """Meetings as blocks: one for each input, with the same keys in the same rows; None for an input that misses.

    What it takes is in the journals of its ports, so it is acknowledged at once, and a full link cannot keep two
    branches apart. A meeting without an input that has to be there is counted and not given.
    """

    def __init__(self, join: Join, ports: Sequence[Port], inboxes: dict[str, Inbox], porters: dict[str, Porter],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._join, self._inboxes, self._porters, self._clock = join, inboxes, porters, clock
        self._wanted = {port.name for port in ports if not port.optional}
        self._meetings: Meetings[Frames] = Meetings([port.name for port in ports], join.skew,
                                                    several=join.by == "point")
        self._since_s: dict[str, float] = {}  # for how long a branch has held up the others without a word
        self._left: list[str] = list(inboxes)
        self._scans: dict[str, int] = {}

    def __iter__(self) -> Iterator[Given]:
        """Every meeting that is to be given, until all branches have ended."""
        while True:
            took = [self._take(name) for name in list(self._left) if self._meetings.wants(name)]
            while (meeting := self._meetings.take()) is not None:
                if self._wanted.isdisjoint(meeting.missing):
                    yield from self._held(meeting)
            if not self._left:
                return
            if not any(took):
                self._rest()

    def facts(self) -> dict[str, Any]:
        """What a heartbeat says of the meetings; how many keys each branch missed is a warning."""
        meetings = self._meetings
        told: dict[str, Any] = {"joined": meetings.complete}
        missed = {name: n for name, n in meetings.incomplete.items() if n}
        late = {name: n for name, n in meetings.late.items() if n}
        warnings = [f"{n} meetings without {name}" + (" were set aside" if name in self._wanted else "")
                    for name, n in missed.items()]
        warnings += [f"{n} frames of {name} came after their {self._join.by} had been given up"
                     for name, n in late.items()]
        return {**told, **({"incomplete": missed} if missed else {}), **({"late": late} if late else {}),
                **({"warnings": warnings} if warnings else {})}

    def _take(self, name: str) -> bool:
        """Take one block of a branch, or its end; whether there was something."""
        inbox = self._inboxes[name]
        block = inbox.take()
        if block is None:
            if not inbox.ended:
                return False
            self._left.remove(name)
            self._meetings.end(name)
            return True
        if not isinstance(block, Frames):
            raise WireError(f"input {name}: a {type(block).__name__} came to a join; only frames have a key")
        self._meetings.add(name, _keys(block, self._join, self._scans), block)
        self._since_s.pop(name, None)
        inbox.done()
        return True

    def _rest(self) -> None:
        """Wait for the branches that are wanted; one that holds up the others for too long is left behind."""
        first, *others = [self._inboxes[name] for name in self._left if self._meetings.wants(name)]
        first.wait(SLICE_S, *others)
        for end in [end for name in self._left for end in self._inboxes[name].ends]:
            end.pump()  # also of a branch that is ahead: what was taken from it is acknowledged
        now_s = self._clock()
        self._since_s = {name: self._since_s.get(name, now_s) for name in self._meetings.held_up_by()}
        for name, since_s in self._since_s.items():
            if now_s - since_s > self._join.wait_s:
                self._meetings.silence(name)

    def _held(self, meeting: Meeting[Frames]) -> Iterator[Given]:
        """The rows of a meeting as one block an input; what misses is flagged in the headers too.

        Who is ended by it held the block that came last: that is what is set aside.
        """
        for name, pieces in meeting.parts.items():
            last = name, pieces[-1].block
        self._porters[last[0]].hold(last[1], known=True)
        yield _given(meeting, self._inboxes)
        self._porters[last[0]].empty()


def joined(join: Join, ports: Sequence[Port], inputs: Mapping[str, Sequence[Block]]) -> Iterator[Given]:
    """Every meeting of blocks that are all there already, in the order of their keys where they are complete."""
    meetings: Meetings[Frames] = Meetings(list(inputs), EVERYTHING, several=join.by == "point")
    scans: dict[str, int] = {}
    for name, blocks in inputs.items():
        for block in blocks:
            if isinstance(block, Frames):
                meetings.add(name, _keys(block, join, scans), block)
    for name in inputs:
        meetings.end(name)
    wanted = {port.name for port in ports if not port.optional}
    while (meeting := meetings.take()) is not None:
        if wanted.isdisjoint(meeting.missing):
            yield _given(meeting, inputs)


def _keys(block: Frames, join: Join, scans: dict[str, int]) -> list[int]:
    """The key of each row; `scans` remembers where the keys of each scan begin.

    No branch goes on to the next scan while another is not there.
    """
    first = scans.setdefault(block.scan.id, len(scans) * KEYS_OF_A_SCAN)
    column = block.index if join.by == "frame" else block.point
    return [first + key for key in column.tolist()]


def _given(meeting: Meeting[Frames], names: Iterable[str]) -> Given:
    missing = ",".join(meeting.missing)
    return {name: _block(meeting.parts[name], missing) if name in meeting.parts else None for name in names}


def _block(pieces: list[Piece[Frames]], missing: str) -> Frames:
    parts = [piece.block.rows(piece.rows) for piece in pieces]
    block = parts[0]
    if len(parts) > 1:
        block = type(block)(block.header, {
            name: np.concatenate([part.arrays[name] for part in parts]) if name in block.required else array
            for name, array in block.arrays.items()})
    if not missing:
        return block
    facts = {**block.header.facts, _MISSING: missing}
    return type(block)(msgspec.structs.replace(block.header, facts=facts), block.arrays)
