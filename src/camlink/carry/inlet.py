"""CountingInlet: what the receiving ends of all kinds of link share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

import msgspec

from camlink.block import Block
from camlink.carry.account import Account
from camlink.clock import now_s

ANSWER_S: Final = 0.004  # answers wait so long for company


class CountingInlet(ABC):
    """The receiving end of a link (link.Inlet); remembers what was received and not yet released, oldest first."""

    def __init__(self) -> None:
        self.account = Account()
        self._held: deque[tuple[int, int]] = deque()  # number and frames
        self._ending = self._ended = self._cut = False

    @property
    @abstractmethod
    def pollable(self) -> Any:
        """What becomes readable when `receive` may have a block."""

    @abstractmethod
    def receive(self) -> Block | None:
        """The next block if one is there; a message that is none is counted as refused."""

    @abstractmethod
    def _acknowledge(self, numbers: list[int]) -> None:
        """Tell the sender that these parcels are done with."""

    @abstractmethod
    def _say_finished(self) -> None:
        """Acknowledge the end."""

    @abstractmethod
    def _say_leaving(self) -> None:
        """Tell the sender that what was not released has to go to somebody else."""

    @abstractmethod
    def _shut(self) -> None:
        """Release the socket or memory."""

    @property
    @abstractmethod
    def _closed(self) -> bool:
        """Whether the socket or memory was released."""

    @property
    def owes(self) -> bool:
        """Whether answers wait for company."""
        return False

    def pump(self) -> None:
        """Do what has to be done while nobody receives: nothing, for some kinds."""
        return

    def _took(self, block: Block, number: int, again: int, sent_s: float) -> Block:
        """Count a block that arrived; one that comes again is marked."""
        at_s, frames = now_s(), block.count
        self.account.count_received(frames, block.nbytes, at_s, block.header.made_s, sent_s)
        self._held.append((number, frames))
        if not again:
            return block
        self.account.resent += frames
        return type(block)(msgspec.structs.replace(block.header, again=again), block.arrays)

    def release(self, blocks: int | None = None) -> None:
        """The consumer is done with the oldest `blocks` (all) that were received: hand the credit back."""
        held = self._held
        count = len(held) if blocks is None else min(blocks, len(held))
        if not count:
            return
        numbers = []
        for _ in range(count):
            number, frames = held.popleft()
            numbers.append(number)
            self.account.acknowledged += frames
        self._acknowledge(numbers)

    @property
    def number(self) -> int:
        """The number that the link gave to the block that was received last and not yet released."""
        return self._held[-1][0]

    def release_one(self, number: int) -> None:
        """The consumer is done with the block of this number, whatever it still has of older ones."""
        for place, (held, frames) in enumerate(self._held):
            if held == number:
                del self._held[place]
                self.account.acknowledged += frames
                self._acknowledge([number])
                return

    @property
    def ending(self) -> bool:
        """True when the sender has nothing new and waits for acknowledgements."""
        return self._ending or self._ended

    @property
    def ended(self) -> bool:
        """True when the sender has closed, every block was received and all of them are acknowledged."""
        return self._ended

    def cut(self) -> None:
        """The sender is gone: what already came is still received, then the stream ends here."""
        self._cut = True

    def leave(self) -> None:
        """Give back what was not released, so that it goes to somebody else, and release the socket or memory."""
        if not self._closed:
            self._say_leaving()
            self._shut()

    def close(self) -> None:
        """Release all and acknowledge the end; before the end it is leaving."""
        if self._closed:
            return
        self.release()
        if self._ended:
            self._say_finished()
            self._shut()
        else:
            self.leave()

    def abandon(self) -> None:
        """Release the socket or memory and say nothing: the consumer failed, its sender keeps what was not released."""
        if not self._closed:
            self._shut()
