"""Meetings: which rows of several branches share a key; pure, bounded by the skew, never by arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_ROOM: Final = 1024


@dataclass(slots=True)
class Piece(Generic[T]):
    """Rows of one block of a branch."""

    block: T
    rows: list[int]


@dataclass(slots=True)
class Meeting(Generic[T]):
    """What the branches have under the same keys, row by row in the order of `keys`; `missing` branches have nothing.

    A branch has one piece, or several where a key may have several rows.
    """

    keys: list[int]
    parts: dict[str, list[Piece[T]]]
    missing: tuple[str, ...] = ()

    def takes_in(self, other: Meeting[T]) -> bool:
        """Append the rows of `other` when they are of the same blocks."""
        if self.missing != other.missing or any(
                mine[0].block is not other.parts[name][0].block for name, mine in self.parts.items()):
            return False
        self.keys += other.keys
        for name, mine in self.parts.items():
            mine[0].rows += other.parts[name][0].rows
        return True


Parts = dict[str, list[Piece[T]]]


class Meetings(Generic[T]):
    """Blocks of several branches go in, meetings come out.

    Keys are numbers that rise as the scan goes on; the highest one tells how far a branch has come, and rows that come
    out of turn within the skew lose nothing. What is open spans at most 2 skew keys and a block of each branch.
    """

    def __init__(self, branches: Sequence[str], skew: int, *, several: bool = False) -> None:
        self._skew, self._several = skew, several
        self._reached = dict.fromkeys(branches, -1)
        self._ended: set[str] = set()
        self._silent: set[str] = set()
        self._open: dict[int, Parts[T]] = {}
        self._oldest: list[int] = []  # a heap of what is open, and of some that closed meanwhile
        self._closed: set[int] = set()  # of the keys from `_floor` on; below it all are closed
        self._floor = -1 - skew
        self._room = _ROOM
        self._ready: deque[Meeting[T]] = deque()
        self.late = dict.fromkeys(branches, 0)
        self.incomplete = dict.fromkeys(branches, 0)
        self.complete = 0

    def add(self, branch: str, keys: Sequence[int], block: T) -> None:
        """A block of a branch with the key of each row; a row whose key was given up is late, counted and left out."""
        self._silent.discard(branch)
        for row, key in enumerate(keys):
            if key < self._floor or key in self._closed:
                self.late[branch] += 1
                continue
            parts = self._open.get(key)
            if parts is None:
                parts = self._open[key] = {}
                heappush(self._oldest, key)
            pieces = parts.setdefault(branch, [])
            if pieces and not self._several:
                self.late[branch] += 1  # the same frame from two senders: the first one counts
            elif pieces and pieces[-1].block is block:
                pieces[-1].rows.append(row)
            else:
                pieces.append(Piece(block, [row]))
            if not self._several and len(parts) == len(self._reached):
                self._close(key)
        self._reached[branch] = max([self._reached[branch], *keys])
        self._settle()

    def end(self, branch: str) -> None:
        """Nothing more comes of a branch."""
        self._ended.add(branch)
        self._settle()

    def silence(self, branch: str) -> None:
        """Go on without a branch until it gives something again."""
        self._silent.add(branch)
        self._settle()

    def wants(self, branch: str) -> bool:
        """Whether a branch is to be taken from: it is less than `skew` keys ahead of every other."""
        return branch not in self._ended and self._reached[branch] - self._slowest(branch) < self._skew

    def held_up_by(self) -> list[str]:
        """The branches that others wait for."""
        kept = [name for name in self._reached if name not in self._ended and not self.wants(name)]
        return [name for name in self._going() if any(self._reached[k] - self._reached[name] >= self._skew
                                                      for k in kept)]

    def take(self) -> Meeting[T] | None:
        """The next meeting that is decided, or None."""
        return self._ready.popleft() if self._ready else None

    def _going(self) -> list[str]:
        return [name for name in self._reached if name not in self._ended and name not in self._silent]

    def _slowest(self, branch: str) -> int:
        return min((self._reached[name] for name in self._going() if name != branch), default=self._reached[branch])

    def _settle(self) -> None:
        """Close every key that the branches without it have passed."""
        going = self._going()
        everywhere = len(going) == len(self._reached)
        passed = max((self._reached[name] for name in going), default=0) - (0 if self._several else self._skew)
        kept = []
        while self._oldest and (self._oldest[0] < passed or not everywhere):
            key = heappop(self._oldest)
            if key in self._open and self._decided(key, going):
                self._close(key)
            elif key in self._open:
                kept.append(key)
        for key in kept:
            heappush(self._oldest, key)
        self._floor = max(self._floor, min((self._reached[name] for name in going), default=0) - self._skew)
        if len(self._closed) > self._room:
            self._closed = {key for key in self._closed if key >= self._floor}
            self._room = _ROOM + 2 * len(self._closed)

    def _decided(self, key: int, going: list[str]) -> bool:
        """Whether nothing more is to be expected under a key of the branches that go on."""
        there = self._open[key]
        return all(self._reached[name] > key if name in there else self._reached[name] > key + self._skew
                   for name in going if self._several or name not in there)

    def _close(self, key: int) -> None:
        parts = self._open.pop(key)
        self._closed.add(key)
        missing = tuple(name for name in self._reached if name not in parts)
        for name in missing:
            self.incomplete[name] += 1
        self.complete += not missing
        meeting = Meeting([key], parts, missing)
        if self._several or not self._ready or not self._ready[-1].takes_in(meeting):
            self._ready.append(meeting)
