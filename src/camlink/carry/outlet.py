"""KeepingOutlet: what the sending ends of all kinds of link share; a kind only carries bytes and hears answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from camlink.block import Array, Block
from camlink.carry.account import Account
from camlink.carry.ledger import Ledger, Parcel, Receiver
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.clock import now_s
from camlink.errors import WireError
from camlink.policy import read_policy

HEAR_S: Final = 0.001
"""While there is credit, what receivers said is taken in so often [s]: each look is a system call."""
LEAST_BYTES: Final = 512
"""What a block weighs at least in the credit: its header waits in memory too, also that of one without arrays."""


class KeepingOutlet(ABC):
    """The sending end of a link (link.Outlet) over a ledger."""

    address: str

    def __init__(self, link: str, *, receivers: int = 1, policy: str = "block",
                 limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._link = link
        self._ledger = Ledger(read_policy(policy), limit_bytes, receivers, self._discard)
        self.account: Account = self._ledger.account
        self._heard_s = 0.0

    @property
    @abstractmethod
    def pollable(self) -> Any:
        """What becomes readable when `pump` has something to do."""

    @abstractmethod
    def _hear(self) -> None:
        """Take in what receivers have said."""

    @abstractmethod
    def _carry(self, receiver: Receiver, parcel: Parcel) -> bool:
        """Send a parcel; False when it cannot go now, or the receiver is not there any more."""

    @abstractmethod
    def _say_ending(self, receiver: Receiver) -> bool:
        """Tell that nothing new follows."""

    @abstractmethod
    def _say_end(self, receiver: Receiver) -> bool:
        """Tell that the stream is over; False when the receiver is not there any more."""

    @abstractmethod
    def _shut(self) -> None:
        """Release the socket or memory."""

    @abstractmethod
    def _dismiss(self, receiver: Receiver) -> None:
        """Close the connection to a receiver that is lost."""

    def _store(self, block: Block, parts: list[Any], nbytes: int) -> Any:
        """Where the bytes stay while the block is in custody; None when there is no room."""
        return parts

    def _discard(self, payload: Any) -> None:
        """The block of this payload is out of custody."""
        del payload  # what nobody holds any more goes by itself

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array, in memory that the link does not have to copy."""
        return np.empty(shape, dtype)

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Take the block into custody and send what may go; False when there is no credit (lossless policies)."""
        ledger, frames = self._ledger, block.count
        if ledger.detached:
            ledger.miss(frames)
            return True
        nbytes, at_s = block.nbytes, now_s()
        if nbytes < LEAST_BYTES:
            nbytes = LEAST_BYTES
        if at_s - self._heard_s > HEAR_S or ledger.presses(nbytes):
            self._heard_s = at_s
            self._hear()
        if ledger.waiting:
            self._let_go()
        if not ledger.admits(nbytes):
            return False
        if ledger.skips(frames):
            return True
        payload = self._store(block, parts, nbytes)
        if payload is None:
            return ledger.lacks_room(frames)
        ledger.keep(block, payload, nbytes)
        self._let_go()
        return True

    def pump(self) -> None:
        """Take in what receivers said; let what waits go; tell the end when all is acknowledged."""
        self._hear()
        self._let_go()

    def finish(self) -> None:
        """Say that nothing follows, as soon as everything is acknowledged."""
        self._ledger.ending = True
        self.pump()

    def expect(self, receivers: int) -> None:
        """From now on so many receivers share the work."""
        self._ledger.expected = receivers

    def lose(self, receiver: str, reason: str, attempt: int | None = None) -> None:
        """That receiver is dead: what it did not acknowledge goes again to the others, or to the next that comes."""
        self._hear()  # what it acknowledged with its last words counts
        there = self._ledger.receivers.get(receiver)
        if there is not None and (attempt is None or there.attempt <= attempt):
            self._lost(receiver, reason)
        self._let_go()

    @property
    def kept(self) -> list[Block]:
        """What is in custody, oldest first."""
        return self._ledger.kept

    def settled(self, sequence: int) -> bool:
        """Whether the block with this header.sequence is acknowledged, dropped or lost."""
        return self._ledger.settled(sequence)

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers that are there."""
        return tuple(self._ledger.receivers)

    @property
    def ready(self) -> bool:
        """True when every expected receiver has said hello."""
        return self._ledger.ready

    @property
    def finished(self) -> bool:
        """True when every receiver has acknowledged the end."""
        return self._ledger.finished

    def detach(self, reason: str) -> None:
        """Nobody listens any more: what is in custody and what follows is lost with this reason."""
        self._hear()
        self._ledger.detach(reason)

    def close(self) -> None:
        """Release the socket or memory; what was not acknowledged is lost."""
        if not self._ledger.empty:
            self.detach("not acknowledged")
        self._shut()

    def _lost(self, name: str, reason: str) -> None:
        """Take back what a receiver has; it is looked at no more."""
        receiver = self._ledger.receivers.get(name)
        if receiver is not None:
            self.account.note(f"receiver {name} lost: {reason}")
            self._dismiss(receiver)
            self._ledger.lose(name)

    def _let_go(self) -> None:
        ledger = self._ledger
        while (chosen := ledger.next()) is not None:
            receiver, parcel = chosen
            if self._carry(receiver, parcel):
                ledger.went(receiver, now_s())
            elif receiver.name in ledger.receivers:
                break
        ledger.trim()
        if ledger.ending and not ledger.detached and not ledger.waiting:
            self._tell_end()

    def _tell_end(self) -> None:
        over = self._ledger.empty
        for receiver in list(self._ledger.receivers.values()):
            if over and not receiver.told_end:
                receiver.told_end = self._say_end(receiver)
            elif not over and not receiver.told_ending:
                receiver.told_ending = self._say_ending(receiver)

    def _acknowledged(self, name: str, numbers: tuple[int, ...]) -> None:
        """Raises WireError for what it does not have: a connection that broke has some told twice. The others count."""
        wrong: list[WireError] = []
        for number in () if self._ledger.detached else numbers:
            try:
                self._ledger.acknowledge(name, number)
            except WireError as error:
                wrong.append(error)
        if wrong:
            raise wrong[0]

    def _refused(self, name: str, number: int) -> None:
        if not self._ledger.detached:
            self._ledger.refuse(name, number)

    def _finished(self, name: str) -> None:
        receiver = self._ledger.receivers[name]
        if not receiver.told_end:
            raise WireError(f"link {self._link}: receiver '{name}' acknowledges an end that it was not told")
        receiver.finished = True
