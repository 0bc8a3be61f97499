"""Link: what both ends of every kind of link promise, whatever carries the bytes.

An outlet takes blocks while it has credit (in bytes) and keeps each one until its receiver is done with it: when a
receiver is lost, its blocks go again to the others or to the next that comes, marked by `header.again`, so that the
consumer can drop what it knows by (source, sequence). An inlet gives blocks out and hands the credit back when the
consumer has finished with them. Receivers join and leave at any time. A link ends by closing: the end of a stream is
told once everything is acknowledged and is acknowledged itself, never a time-out. Neither end ever waits by itself:
the loop that owns it polls `pollable`, calls `pump`, and decides.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from numpy.typing import DTypeLike

from camlink.block import Array, Block
from camlink.carry.account import Account

Kind = Literal["memory", "zmq", "shm", "far"]
DEFAULT_LIMIT_BYTES: Final = 64 << 20


class Outlet(Protocol):
    """The sending end of one link."""

    account: Account
    address: str

    @property
    def pollable(self) -> Any:
        """A socket or file descriptor that becomes readable when `pump` has something to do."""
        ...

    @property
    def ready(self) -> bool:
        """True when every expected receiver has said that it is there."""
        ...

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers that are there."""
        ...

    def expect(self, receivers: int) -> None:
        """From now on so many receivers share the work; `ready` waits for as many."""
        ...

    def lose(self, receiver: str, reason: str, attempt: int | None = None) -> None:
        """That receiver is dead: what it did not acknowledge goes again to the others, or to the next that comes.

        Nothing happens when a later attempt of it than `attempt` is there already. Only for a process that has ended,
        not for one that is silent: memory that it reads may be used anew.
        """
        ...

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array for a block in the making: where it lies in the link's memory, offering copies nothing.

        As any block, it is not written to any more once it was offered; take a new room for the next.
        """
        ...

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Take a block into custody and send what may go; False when there is no credit (policy `block`)."""
        ...

    @property
    def kept(self) -> list[Block]:
        """What is in custody, oldest first; without what is on disk already."""
        ...

    def settled(self, sequence: int) -> bool:
        """Whether nothing of the block with this header.sequence is outstanding: acknowledged, dropped or lost."""
        ...

    def pump(self) -> None:
        """Take in acknowledgements and let waiting blocks go; to be called whenever the owner waits."""
        ...

    def finish(self) -> None:
        """Say that nothing follows, as soon as everything is acknowledged."""
        ...

    @property
    def finished(self) -> bool:
        """True when every receiver has acknowledged the end."""
        ...

    def detach(self, reason: str) -> None:
        """Nobody listens any more: what is in custody and what follows is lost with this reason."""
        ...

    def close(self) -> None:
        """Release the socket or memory; loses what was not acknowledged."""
        ...


class Inlet(Protocol):
    """The receiving end of one link from one sender."""

    account: Account

    @property
    def pollable(self) -> Any:
        """A socket or file descriptor that becomes readable when `receive` may have a block."""
        ...

    def receive(self) -> Block | None:
        """The next block if one is there; it stays in the custody of its sender until `release`."""
        ...

    @property
    def owes(self) -> bool:
        """Whether answers wait for company: then the owner calls `pump` after inlet.ANSWER_S at the latest."""
        ...

    def pump(self) -> None:
        """Do what has to be done while nobody receives; to be called whenever the owner has waited."""
        ...

    def release(self, blocks: int | None = None) -> None:
        """The consumer is done with the oldest `blocks` (all) that were received: hand the credit back."""
        ...

    @property
    def number(self) -> int:
        """The number of the block that was received last: the outlet counts from 0, over all its receivers."""
        ...

    def release_one(self, number: int) -> None:
        """The consumer is done with the block of this number, whatever it still has of older ones."""
        ...

    @property
    def ending(self) -> bool:
        """True when the sender has nothing new and only waits for acknowledgements."""
        ...

    @property
    def ended(self) -> bool:
        """True when the sender has closed, every block was received and all of them are acknowledged."""
        ...

    def cut(self) -> None:
        """The sender is gone: what already came is still received, then the stream ends here."""
        ...

    def leave(self) -> None:
        """Give back what was not released, so that it goes to somebody else, and release the socket or memory."""
        ...

    def close(self) -> None:
        """Release all, acknowledge the end and release the socket or memory; before the end it is leaving."""
        ...

    def abandon(self) -> None:
        """Release the socket or memory and say nothing: the consumer failed."""
        ...
