"""Assembler: datagrams in any order, with losses, become numbered frames; what is missing is marked, never guessed.

A frame is closed when it is complete, some packets after its tail mark, when newer frames have left it behind, or at
its deadline. Frames come out in rising order of their 64-bit number, each number at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd import kernels as k
from camlink.capture.fastccd.geometry import Geometry, row_table
from camlink.capture.fastccd.wire import MARKER, PACKET_NUMBERS, Layout, payloads_of

TAIL_GRACE_S: Final = 0.02
VOTES_ENOUGH: Final = 512
MAX_SENDERS: Final = 16


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived and what did not, counted in packets with samples and in frames, at one moment.

    packets_ok + missing = packets of a frame x (frames_ok + frames_partial + frames_lost). `late` packets belong to
    a frame that was closed, `short` ones were cut, `malformed` ones have no known header or size, `foreign` ones came
    from another address; `tails` and `blurbs` carry no samples.
    """

    packets_ok: int = 0
    missing: int = 0
    duplicate: int = 0
    late: int = 0
    short: int = 0
    malformed: int = 0
    foreign: int = 0
    tails: int = 0
    blurbs: int = 0
    frames_ok: int = 0
    frames_partial: int = 0
    frames_lost: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame: its 64-bit number, when its first packet was seen [s], and the image (2 rows, 96 chips) u16 [ADU].

    `missing` (packets,) bool is True where a packet did not arrive, None when all did; `damaged` is also True when
    the sender ended the frame early. Samples without value hold 0x2000.
    """

    number: int
    time_s: float
    image: NDArray[np.uint16]
    missing: NDArray[np.bool_] | None
    damaged: bool


Allocate = Callable[[], NDArray[np.uint16]]


class Assembler:
    """Takes batches of datagrams and gives frames; one object per camera, no socket and no clock inside.

    `first_number` is the number of the first frame, so that frames lost before the first arrival are counted and
    numbers beyond 65535 are told apart; None takes the first that arrives. `sender` is the key of the only address
    that counts (0: any). `allocate` gives the array (2 rows, 96 chips) u16 that the next frame is written into.
    """

    def __init__(self, geometry: Geometry, *, first_number: int | None = 0, deadline_s: float = 0.1,
                 sender: int = 0, allocate: Allocate | None = None) -> None:
        self.geometry = geometry
        self.deadline_s = deadline_s
        self.sender = sender
        self.allocate: Allocate = allocate or (lambda: np.empty(geometry.shape, np.uint16))
        self.foreign_senders: set[int] = set()
        self.layout: Layout | None = None
        self._table = row_table(geometry)
        self._memo = np.zeros(k.MEMO_SIZE, np.int64)
        self._counts = np.zeros(k.COUNTS_SIZE, np.int64)
        self._packets_ok = self._missing = self._ok = self._partial = self._lost = 0
        self._votes: dict[int, int] = {}
        self._started = False
        self._slots = k.new_slots(1, 1)
        if first_number is not None:
            self._start(first_number)
        self._compile()

    @property
    def counters(self) -> Counters:
        """A snapshot of every counter."""
        c = self._counts
        return Counters(
            packets_ok=self._packets_ok, missing=self._missing, duplicate=int(c[k.DUPLICATE]), late=int(c[k.LATE]),
            short=int(c[k.SHORT]), malformed=int(c[k.MALFORMED]), foreign=int(c[k.FOREIGN]), tails=int(c[k.TAILS]),
            blurbs=int(c[k.BLURBS_SEEN]), frames_ok=self._ok, frames_partial=self._partial, frames_lost=self._lost)

    @property
    def newest(self) -> int:
        """Highest frame number that has been seen; one less than the first number before any arrived."""
        return int(self._memo[k.MEMO_NEWEST])

    @property
    def next_number(self) -> int:
        """The lowest frame number that is not decided yet."""
        return int(self._memo[k.MEMO_EMITTED]) + 1

    @property
    def seen(self) -> int:
        """Datagrams of frames that were accepted, rising; it stands still while only rubbish arrives."""
        return int(self._memo[k.MEMO_SERIAL])

    @property
    def waiting(self) -> bool:
        """Whether a frame is open."""
        return bool(self._memo[k.MEMO_OPEN])

    def feed(self, datagrams: NDArray[np.uint8], lengths: NDArray[np.int64],
             senders: NDArray[np.uint64] | NDArray[np.int64], now_s: float) -> Iterator[Frame]:
        """Frames that are finished by these datagrams (n, stride) u8 of `lengths` (n,) bytes from `senders` (n,)."""
        datagrams, lengths = np.ascontiguousarray(datagrams), np.ascontiguousarray(lengths, np.int64)
        keys = np.ascontiguousarray(senders).view(np.int64)
        self._learn(datagrams, lengths, keys)
        if self.layout is None:
            self._refuse(lengths, keys)
            return
        before, start = int(self._counts[k.FOREIGN]), 0
        while start < len(lengths):
            start, event = k.place(datagrams, lengths, keys, start, self._rules, self._slots, self._memo, self._counts)
            if event == k.NOTHING:
                break
            yield from self._close(int(self._memo[k.MEMO_NUMBER]), now_s)
        if self._counts[k.FOREIGN] != before:
            self._note_foreign(keys)
        self._stamp(now_s)

    def expire(self, now_s: float) -> Iterator[Frame]:
        """Frames whose deadline has passed; call it only when nothing waits in the socket."""
        if not self.waiting or self.layout is None:
            return
        slots = self._slots
        age_s = now_s - self._opened_s
        ended = (slots.tail != k.NO_TAIL) & (age_s > min(self.deadline_s, TAIL_GRACE_S))
        overdue = (slots.state == k.OPEN) & (ended | (age_s > self.deadline_s))
        if overdue.any():
            yield from self._close(int(slots.number[overdue].max()), now_s)

    def flush(self, now_s: float, last_number: int | None = None) -> Iterator[Frame]:
        """Close every open frame; with `last_number`, frames up to it that never came are counted as lost."""
        if self.layout is not None and self.waiting:
            yield from self._close(int(self._slots.number[self._slots.state == k.OPEN].max()), now_s)
        if last_number is not None and last_number >= self.next_number:
            self._skip(last_number + 1)

    def _compile(self) -> None:
        """Load the kernels now: the first compilation takes seconds, in which a detector would not wait."""
        nothing = np.empty(0, np.int64)
        k.place(np.empty((0, 1), np.uint8), nothing, nothing, 0, k.Rules(0, 0, 0, 0, 0), self._slots, self._memo,
                self._counts)
        k.gather_samples(np.empty(0, np.uint16), self._table, np.empty((0, 0), np.uint16))

    def _start(self, number: int) -> None:
        self._memo[k.MEMO_NEWEST] = self._memo[k.MEMO_EMITTED] = number - 1
        self._started = True

    def _learn(self, datagrams: NDArray[np.uint8], lengths: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Take the payload size from the datagrams: the size that most have, until a frame has proved it."""
        if self._ok or sum(self._votes.values()) >= VOTES_ENOUGH:
            return
        own = lengths > 0 if not self.sender else keys == self.sender
        sizes = np.where(own, payloads_of(datagrams, lengths), 0)
        found = np.flatnonzero(sizes)
        if len(found) and not self._started:
            self._start(int(datagrams[found[0], 6]) * 256 + int(datagrams[found[0], 7]))
        for size, votes in zip(*np.unique(sizes[found], return_counts=True), strict=True):
            self._votes[int(size)] = self._votes.get(int(size), 0) + int(votes)
        if self._votes:
            best = max(self._votes, key=lambda size: (self._votes[size], size))
            if self.layout is None or best != self.layout.payload_bytes:
                self._adopt(Layout(self.geometry, best))

    def _adopt(self, layout: Layout) -> None:
        if self.layout is not None:
            self._counts[k.SHORT] += int(self._slots.received[self._slots.state == k.OPEN].sum())
        self.layout = layout
        self._memo[k.MEMO_OPEN] = 0
        self._rules = k.Rules(self.geometry.bytes, layout.payload_bytes, layout.last_bytes, layout.packets,
                              self.sender)
        self._slots = k.new_slots(layout.packets, layout.payload_bytes)
        self._opened_s = np.zeros(k.SLOTS)
        self._stamped = np.full(k.SLOTS, np.iinfo(np.int64).min)

    def _refuse(self, lengths: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        foreign = int((keys != self.sender).sum()) if self.sender else 0
        self._counts[k.FOREIGN] += foreign
        self._counts[k.MALFORMED] += len(lengths) - foreign
        if foreign:
            self._note_foreign(keys)

    def _note_foreign(self, keys: NDArray[np.int64]) -> None:
        for key in np.unique(keys[keys != self.sender])[:MAX_SENDERS]:
            if len(self.foreign_senders) < MAX_SENDERS:
                self.foreign_senders.add(int(key))

    def _stamp(self, now_s: float) -> None:
        fresh = self._slots.number != self._stamped
        self._opened_s[fresh] = now_s
        self._stamped[fresh] = self._slots.number[fresh]

    def _close(self, number: int, now_s: float) -> Iterator[Frame]:
        slots = self._slots
        chosen = np.flatnonzero((slots.state == k.OPEN) & (slots.number <= number))
        for slot in chosen[np.argsort(slots.number[chosen])]:
            self._memo[k.MEMO_OPEN] -= 1
            if slots.number[slot] > self.newest:  # one packet with a far number that nothing confirmed
                slots.state[slot] = k.FREE
                self._counts[k.MALFORMED] += slots.received[slot]
                continue
            slots.state[slot] = k.CLOSED
            yield self._emit(int(slot), now_s)

    def _skip(self, number: int) -> None:
        """Count the frames below `number` that were never opened as lost; `number` becomes the next."""
        lost = number - self.next_number
        self._lost += lost
        self._missing += lost * (self.layout.packets if self.layout else 0)
        self._memo[k.MEMO_EMITTED] = number - 1
        self._memo[k.MEMO_NEWEST] = max(self.newest, number - 1)

    def _emit(self, slot: int, now_s: float) -> Frame:
        slots, rules, number = self._slots, self._rules, int(self._slots.number[slot])
        self._skip(number)
        self._memo[k.MEMO_EMITTED] = number
        seen = np.flatnonzero(slots.have[slot])
        if slots.tail[slot] == k.NO_TAIL and len(seen) and rules.packets - 1 - seen[-1] >= PACKET_NUMBERS:
            slots.have[slot] = slots.received[slot] = 0  # the packet counter may have come round unseen
        received = int(slots.received[slot])
        self._packets_ok += received
        self._missing += rules.packets - received
        missing: NDArray[Any] | None = None
        if received < rules.packets:
            missing = slots.have[slot] == 0
            holes = slots.buffer[slot].reshape(rules.packets, rules.payload)
            holes[missing] = np.tile(np.frombuffer(MARKER.to_bytes(2, "big"), np.uint8), rules.payload // 2)
        damaged = missing is not None or bool(slots.cut[slot])
        self._partial += damaged
        self._ok += not damaged
        image = self.allocate()
        k.gather_samples(slots.buffer[slot, :rules.frame_bytes].view(np.uint16), self._table, image)
        opened_s = float(self._opened_s[slot]) if self._stamped[slot] == number else now_s
        return Frame(number, opened_s, image, missing, damaged)

