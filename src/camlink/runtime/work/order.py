"""Order: blocks that come in any order behind replicas leave in the order of their frames; pure, but for its clock.

Who shares a stream among replicas numbers its blocks, the replicas pass the number on (`header.turn`), also of a block
that they made nothing of (a Void). So no time-out is needed to know that nothing is missing before a block. What waits
is not acknowledged: the credit of the link before the replicas bounds it, and it comes again when the consumer dies.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

from camlink.block import Block, Turn

T = TypeVar("T")
KEYS_OF_A_SCAN: Final = 1 << 40
"""A scan begins so many keys after the one before."""


@dataclass(slots=True)
class _Chain:
    """The turns of one attempt of an origin: the `next` that is missing, and those beyond it that are there.

    Of each: which parts of it are still to come, a bit for each, and its highest key. A part may come twice.
    """

    next: int = 0
    there: dict[int, tuple[int, int]] = field(default_factory=dict)

    def note(self, turn: Turn, key: int) -> None:
        """A part of a turn has come."""
        if turn.number >= self.next:
            left, top = self.there.get(turn.number, ((1 << turn.parts) - 1, -1))
            self.there[turn.number] = (left & ~(1 << turn.part), max(top, key))

    def pass_on(self) -> int:
        """Go on to the first turn that is not whole; the highest key of those passed, or -1."""
        top = -1
        while (known := self.there.get(self.next)) is not None and not known[0]:
            del self.there[self.next]
            self.next += 1
            top = max(top, known[1])
        return top

    def give_up(self) -> tuple[int, int]:
        """Go on to the next turn that is there; how many were missing, and the highest key of that turn."""
        first = min(self.there)
        missing = first - self.next or 1  # or the turn itself is not whole
        top = self.there[first][1]
        self.next, self.there[first] = first, (0, top)
        return missing, top


@dataclass(slots=True)
class _Stream(Generic[T]):
    """What one operator made of the blocks of one origin."""

    chains: dict[int, _Chain] = field(default_factory=dict)
    held: list[tuple[int, int, int, Block | None, T]] = field(default_factory=list)
    passed: int = -1
    given: int = -1
    since_s: float = 0.0


class Order(Generic[T]):
    """Takes blocks in any order and gives them in the order of their frames, each with the `item` that belongs to it.

    `known` tells which turn comes next in chains that an earlier attempt saw. A gap of which nobody tells is waited for
    `wait_s`, then given up and counted; a frame that comes after a later one was given is `late`.
    """

    def __init__(self, wait_s: float, known: Mapping[int, int] | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_s, self._known, self._clock = wait_s, dict(known or {}), clock
        self._streams: dict[tuple[str, str], _Stream[T]] = {}
        self._scans: dict[str, int] = {}
        self._ready: deque[tuple[Block | None, T]] = deque()
        self._ties = count()
        self.late = self.given_up = 0

    @property
    def waits(self) -> bool:
        """Whether anything is there that was not given yet."""
        return bool(self._ready) or any(stream.held for stream in self._streams.values())

    @property
    def ready(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._ready)

    def recall(self, block: Block) -> None:
        """An earlier attempt gave this block to the operator."""
        turn = block.header.turn
        stream = self._stream(block, turn)
        stream.given = stream.passed = max(stream.given, self._span(block)[1])

    def add(self, block: Block, turn: Turn | None, fresh: Block | None, item: T) -> None:
        """A block came, of which `fresh` is to be given: nothing of one that is known or a Void."""
        stream, (first, top) = self._stream(block, turn), self._span(block)
        stream.since_s = stream.since_s if stream.held else self._clock()
        heappush(stream.held, (first, next(self._ties), top, fresh, item))
        if turn is None:
            stream.passed = max(stream.passed, top)
        elif turn.number >= 0:
            chain = stream.chains.setdefault(turn.chain, _Chain(self._known.get(turn.chain, 0)))
            if turn.number < chain.next:  # it was settled with an earlier attempt of the consumer, or not quite
                stream.passed = max(stream.passed, top)
            chain.note(turn, top)
            stream.passed = max(stream.passed, chain.pass_on())
        self._release(stream)

    def take(self) -> tuple[Block | None, T] | None:
        """The next block (None for one of which nothing is to be given) with its item; None when none is decided."""
        return self._ready.popleft() if self._ready else None

    def look(self) -> None:
        """Give up the first gap of each stream that has held back what follows for too long."""
        now_s = self._clock()
        for stream in self._streams.values():
            if stream.held and now_s - stream.since_s > self._wait_s:
                stream.since_s = now_s
                for chain in stream.chains.values():
                    if chain.there:
                        missing, top = chain.give_up()
                        # another attempt of the origin may have filled the gap, which holds nothing back then
                        self.given_up += missing if top > stream.passed else 0
                    stream.passed = max(stream.passed, chain.pass_on())
                self._release(stream)

    def end(self) -> None:
        """Nothing more comes: give what is there."""
        for stream in self._streams.values():
            if stream.held:
                stream.passed = max(top for _, _, top, _, _ in stream.held)
                self._release(stream)

    @property
    def warnings(self) -> list[str]:
        """What was not in order."""
        return [*([f"{self.late} frames came after later ones had been given"] if self.late else []),
                *([f"{self.given_up} blocks of which nobody told were given up"] if self.given_up else [])]

    def _release(self, stream: _Stream[T]) -> None:
        while stream.held and stream.held[0][2] <= stream.passed:
            first, _, top, fresh, item = heappop(stream.held)
            if fresh is not None:
                self.late += fresh.count if first <= stream.given else 0
                stream.given = max(stream.given, top)
            self._ready.append((fresh, item))
            stream.since_s = self._clock()

    def _stream(self, block: Block, turn: Turn | None) -> _Stream[T]:
        return self._streams.setdefault((block.header.source, turn.origin if turn else ""), _Stream())

    def _span(self, block: Block) -> tuple[int, int]:
        """The lowest and the highest key of a block."""
        first = self._scans.setdefault(block.scan.id, len(self._scans) * KEYS_OF_A_SCAN)
        index = block.arrays.get("index")
        return (first, first) if index is None or not len(index) else (first + int(index.min()),
                                                                       first + int(index.max()))
