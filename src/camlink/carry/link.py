"""Link: what both ends of every kind of link promise, whatever carries the bytes.

An outlet takes blocks while it has credit (in bytes); an inlet gives them out and hands the credit back when the
consumer is done with them. A link ends by closing: the end of a stream is a message that is acknowledged, never a
time-out. Neither end ever waits by itself: the loop that owns it polls `pollable` and decides.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from camlink.block import Block
from camlink.carry.account import Account

Policy = Literal["block", "latest"]
DEFAULT_LIMIT_BYTES: Final = 64 << 20


class Outlet(Protocol):
    """The sending end of one link."""

    account: Account

    @property
    def pollable(self) -> Any:
        """A socket or file descriptor that becomes readable when `pump` has something to do."""
        ...

    @property
    def ready(self) -> bool:
        """True when every expected receiver has said that it is there."""
        ...

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Send now, or under `latest` keep as the newest; False when there is no credit (policy `block`)."""
        ...

    def pump(self) -> None:
        """Take in acknowledgements and let waiting blocks go."""
        ...

    def finish(self) -> None:
        """Say that nothing follows."""
        ...

    @property
    def finished(self) -> bool:
        """True when every receiver has acknowledged the end."""
        ...

    def detach(self, reason: str) -> None:
        """The receivers are gone: what is in flight and what follows is lost with this reason."""
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
        """The next block if one is there; it stays on the account of the link until `release`."""
        ...

    def release(self) -> None:
        """The consumer is done with every block received so far: hand the credit back."""
        ...

    @property
    def ended(self) -> bool:
        """True when the sender has closed and every block was received."""
        ...

    def cut(self) -> None:
        """The sender is gone: the stream ends here."""
        ...

    def close(self) -> None:
        """Acknowledge the end and release the socket or memory."""
        ...

    def abandon(self) -> None:
        """Release the socket or memory and acknowledge nothing: the consumer failed."""
        ...
