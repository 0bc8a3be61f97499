"""Ledger: which blocks an outlet keeps, who works on each, and which may go next; pure bookkeeping, no I/O.

A block is in custody from the moment it is taken until its receiver has acknowledged it, a policy has dropped it, or
it is lost with a reason; only then its memory is given back (`discard`). A receiver that is lost gives its blocks back:
they go again, oldest first and before any newer one. Everything is counted in frames: offered = acknowledged +
dropped + lost + kept, always.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from camlink.block import Block
from camlink.carry.account import Account
from camlink.errors import WireError
from camlink.policy import Policy


@dataclass(slots=True, eq=False)
class Parcel:
    """A block in custody: its number on this link, where its bytes are, and how often it went before."""

    number: int
    block: Block
    frames: int
    nbytes: int
    payload: Any
    again: int = -1


@dataclass(slots=True, eq=False)
class Receiver:
    """One receiver as its sender sees it, with the parcels that it has not acknowledged, oldest first.

    `unasked` counts the bytes that went since it was asked to answer at once.
    """

    name: str
    attempt: int
    bytes: int = 0
    unasked: int = 0
    parcels: dict[int, Parcel] = field(default_factory=dict)
    told_ending: bool = False
    told_end: bool = False
    finished: bool = False


class Ledger:
    """The custody of one outlet; its owner sends what `next` names and tells what came back."""

    def __init__(self, policy: Policy, limit_bytes: int, receivers: int, discard: Callable[[Any], None]) -> None:
        self.account = Account()
        self.policy, self.limit_bytes, self.expected = policy, limit_bytes, receivers
        self._lossless = policy.lossless  # asked several times a block
        self.receivers: dict[str, Receiver] = {}
        self.waiting: deque[Parcel] = deque()
        self.ending = False
        self.detached = ""
        self._discard = discard
        self.number = self._seen = self._waiting_bytes = 0
        self._outstanding: dict[int, int] = {}

    def admits(self, nbytes: int) -> bool:
        """Whether a block of that size may be taken now; a policy that drops always makes room."""
        return not self._lossless or (not self.waiting and self._free(nbytes) is not None)

    def presses(self, nbytes: int) -> bool:
        """Whether a block of that size would take the last half of the credit, or has nobody to go to yet."""
        if self.waiting or not self._lossless or len(self.receivers) < self.expected:
            return True
        return 2 * (sum(receiver.bytes for receiver in self.receivers.values()) + nbytes) > self.limit_bytes

    def skips(self, frames: int) -> bool:
        """Whether `sample(n)` leaves the next block out; it is counted then."""
        self._seen += 1
        if self.policy.step == 1 or self._seen % self.policy.step == 1:
            return False
        self.account.offered += frames
        self.account.count_dropped(self.policy.name, frames)
        return True

    def lacks_room(self, frames: int) -> bool:
        """There is no memory for a block that was admitted: under a policy that drops it is dropped, and taken so."""
        if self.policy.lossless:
            return False
        self.account.offered += frames
        self.account.count_dropped(self.policy.name, frames)
        return True

    def keep(self, block: Block, payload: Any, nbytes: int) -> None:
        """Take a block into custody; under a policy that drops, older ones make room for it."""
        parcel = Parcel(self.number, block, block.count, nbytes, payload)
        self.number += 1
        sequence = block.header.sequence
        self._outstanding[sequence] = self._outstanding.get(sequence, 0) + 1
        self.account.count_kept(parcel.frames, nbytes)
        self.waiting.append(parcel)
        self._waiting_bytes += nbytes

    def next(self) -> tuple[Receiver, Parcel] | None:
        """What goes to whom next; None when nothing waits or nobody has credit."""
        if not self.waiting:
            return None
        receiver = self._free(self.waiting[0].nbytes)
        return None if receiver is None else (receiver, self.waiting[0])

    def went(self, receiver: Receiver, now_s: float) -> None:
        """The parcel that `next` named is under way."""
        parcel = self.waiting.popleft()
        self._waiting_bytes -= parcel.nbytes
        if parcel.again < 0:
            self.account.count_sent(parcel.frames, parcel.nbytes, now_s)
        else:
            self.account.resent += parcel.frames
        parcel.again += 1
        receiver.parcels[parcel.number] = parcel
        receiver.bytes += parcel.nbytes

    def trim(self) -> None:
        """Drop what waits too long under a policy that drops: all but the newest, or the oldest beyond the limit."""
        if self._lossless:
            return
        room = 0 if self.policy.name == "latest" else self.limit_bytes // 2
        while len(self.waiting) > 1 and self._waiting_bytes > room:
            parcel = self.waiting.popleft()
            self._waiting_bytes -= parcel.nbytes
            if parcel.again < 0:
                self.account.count_dropped(self.policy.name, parcel.frames)
            else:
                self.account.count_lost("receiver lost, a newer block came", parcel.frames)
            self._let_go(parcel)

    def join(self, name: str, attempt: int) -> None:
        """A receiver is there; a later attempt replaces the one of the same name, whose parcels go again.

        Raises WireError for an attempt that is over, and for one receiver too many.
        """
        known = self.receivers.get(name)
        if known is not None and attempt < known.attempt:
            raise WireError(f"receiver '{name[:80]}' was replaced: attempt {known.attempt} is there, not {attempt}")
        if known is not None:
            self.lose(name)
        elif len(self.receivers) >= self.expected:
            raise WireError(f"receiver '{name[:80]}' is one too many: {self.expected} are expected")
        self.receivers[name] = Receiver(name, attempt)

    def lose(self, name: str) -> None:
        """A receiver is gone: what it did not acknowledge waits again, in its old place in the order."""
        receiver = self.receivers.pop(name, None)
        if receiver is None or not receiver.parcels:
            return
        self.waiting = deque(sorted([*receiver.parcels.values(), *self.waiting], key=lambda parcel: parcel.number))
        self._waiting_bytes += receiver.bytes
        self.trim()

    def acknowledge(self, name: str, number: int) -> None:
        """A receiver is done with a parcel; raises WireError when it does not have it."""
        parcel = self._returned(name, number)
        self.account.acknowledged += parcel.frames
        self._let_go(parcel)

    def refuse(self, name: str, number: int) -> None:
        """A receiver could not read a parcel: it is lost, since nobody could."""
        parcel = self._returned(name, number)
        self.account.count_lost("refused by its receiver as no block", parcel.frames)
        self._let_go(parcel)

    def detach(self, reason: str) -> None:
        """Nobody will ever take what is in custody: it is lost with this reason, or dropped where it never went."""
        self.detached = reason
        for parcel in self.waiting:
            if parcel.again < 0 and not self.policy.lossless:
                self.account.count_dropped(self.policy.name, parcel.frames)
            else:
                self.account.sent += parcel.frames if parcel.again < 0 else 0
                self.account.count_lost(reason, parcel.frames)
            self._let_go(parcel)
        self.waiting.clear()
        self._waiting_bytes = 0
        for receiver in self.receivers.values():
            for parcel in receiver.parcels.values():
                self.account.count_lost(reason, parcel.frames)
                self._let_go(parcel)
            receiver.parcels.clear()
            receiver.bytes = 0

    def miss(self, frames: int) -> None:
        """A block came after `detach`: it is lost with the same reason."""
        self.account.offered += frames
        self.account.sent += frames
        self.account.count_lost(self.detached, frames)

    def settled(self, sequence: int) -> bool:
        """Whether nothing of the block with this header.sequence is outstanding."""
        return not self.policy.lossless or sequence not in self._outstanding

    @property
    def kept(self) -> list[Block]:
        """The blocks in custody, oldest first."""
        parcels = [*self.waiting, *(p for receiver in self.receivers.values() for p in receiver.parcels.values())]
        return [parcel.block for parcel in sorted(parcels, key=lambda parcel: parcel.number)]

    @property
    def empty(self) -> bool:
        """Whether nothing is in custody."""
        return not self.waiting and not any(r.parcels for r in self.receivers.values())

    @property
    def ready(self) -> bool:
        """Whether every expected receiver is there."""
        return len(self.receivers) >= self.expected or bool(self.detached)

    @property
    def finished(self) -> bool:
        """Whether every receiver has acknowledged the end."""
        if self.detached:
            return True
        return self.ending and bool(self.receivers) and self.empty and all(r.finished for r in self.receivers.values())

    def _free(self, nbytes: int) -> Receiver | None:
        """The receiver with the least under way, if the block fits its share; an idle one takes any block."""
        if len(self.receivers) == 1:
            (receiver,) = self.receivers.values()
        elif self.receivers:
            receiver = min(self.receivers.values(), key=lambda r: r.bytes)
        else:
            return None
        if not receiver.parcels:
            return receiver
        return receiver if receiver.bytes + nbytes <= self.share else None

    def _returned(self, name: str, number: int) -> Parcel:
        receiver = self.receivers[name]
        parcel = receiver.parcels.pop(number, None)
        if parcel is None:
            raise WireError(f"receiver '{name}' answers for parcel {number}, which it does not have")
        receiver.bytes -= parcel.nbytes
        return parcel

    @property
    def share(self) -> int:
        """The bytes that each receiver may have under way; 0 is one block at a time."""
        if self.policy.name == "latest":
            return 0
        limit = self.limit_bytes if self._lossless else self.limit_bytes // 2
        return limit // max(self.expected, 1)

    def _let_go(self, parcel: Parcel) -> None:
        self.account.count_let_go(parcel.frames, parcel.nbytes)
        sequence = parcel.block.header.sequence
        left = self._outstanding[sequence] - 1
        if left:
            self._outstanding[sequence] = left
        else:
            del self._outstanding[sequence]
        self._discard(parcel.payload)
