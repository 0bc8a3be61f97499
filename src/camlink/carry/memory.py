"""MemoryLink: a link between threads of one process; a block is handed over, never copied."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

from camlink.block import Block
from camlink.carry.inlet import CountingInlet
from camlink.carry.ledger import Parcel, Receiver
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.outlet import KeepingOutlet
from camlink.clock import now_s
from camlink.errors import WireError


class _Bell:
    """A file descriptor that wakes whoever polls it; rung by the other thread."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()  # or a ring may write to a number that somebody else got after `close`

    def ring(self) -> None:
        """Make the descriptor readable."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Close the descriptor; ringing does nothing then."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = -1

    def calm(self) -> None:
        """Make it unreadable until it rings again."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return


class MemoryOutlet(KeepingOutlet):
    """The sending end in memory; what inlets say waits in a deque until the owner pumps, as if it came by a socket."""

    def __init__(self, link: str, address: str = "inproc://", *, receivers: int = 1, policy: str = "block",
                 limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        super().__init__(link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
        self.address = address
        self._said: deque[tuple[MemoryInlet, str, tuple[int, ...]]] = deque()
        self._inlets: dict[str, MemoryInlet] = {}
        self._bell = _Bell()

    def join(self, name: str = "only", attempt: int = 0) -> MemoryInlet:
        """A new receiving end; the outlet knows of it from its next pump on."""
        inlet = MemoryInlet(self, name, attempt)
        self.hear(inlet, "hello")
        return inlet

    def hear(self, inlet: MemoryInlet, word: str, numbers: tuple[int, ...] = ()) -> None:
        """What an inlet has to say; from any thread."""
        self._said.append((inlet, word, numbers))
        self._bell.ring()

    @property
    def pollable(self) -> Any:
        """The file descriptor to poll."""
        return self._bell.fd

    def pump(self) -> None:
        """Take in what inlets said; let what waits go; tell the end when all is acknowledged."""
        self._bell.calm()
        super().pump()

    def _hear(self) -> None:
        while self._said:
            inlet, word, numbers = self._said.popleft()
            try:
                self._take_in(inlet, word, numbers)
            except WireError:
                self.account.refused += 1

    def _take_in(self, inlet: MemoryInlet, word: str, numbers: tuple[int, ...]) -> None:
        if word == "hello":
            self._ledger.join(inlet.name, inlet.attempt)
            self._inlets[inlet.name] = inlet
        elif self._inlets.get(inlet.name) is not inlet:
            raise WireError(f"link {self._link}: '{inlet.name}' was replaced or lost")
        elif word == "done":
            self._acknowledged(inlet.name, numbers)
        elif word == "finished":
            self._finished(inlet.name)
        elif word == "leaving":
            self._ledger.lose(inlet.name)
            del self._inlets[inlet.name]

    def _dismiss(self, receiver: Receiver) -> None:
        self._inlets.pop(receiver.name, None)

    def _carry(self, receiver: Receiver, parcel: Parcel) -> bool:
        self._inlets[receiver.name].push((parcel.block, parcel.number, parcel.again + 1, now_s()))
        return True

    def _say_ending(self, receiver: Receiver) -> bool:
        self._inlets[receiver.name].push("ending")
        return True

    def _say_end(self, receiver: Receiver) -> bool:
        self._inlets[receiver.name].push("end")
        return True

    def _shut(self) -> None:
        self._bell.close()


class MemoryInlet(CountingInlet):
    """The receiving end in memory."""

    def __init__(self, outlet: MemoryOutlet, name: str, attempt: int) -> None:
        super().__init__()
        self.name, self.attempt = name, attempt
        self._outlet = outlet
        self._queue: deque[Any] = deque()
        self._bell = _Bell()

    def push(self, item: Any) -> None:
        """Hand over a block or a word of the sender; from its thread."""
        self._queue.append(item)
        self._bell.ring()

    @property
    def pollable(self) -> Any:
        """The file descriptor to poll."""
        return self._bell.fd

    def receive(self) -> Block | None:
        """The next block if one is there."""
        while not self._ended:
            if not self._queue:
                self._bell.calm()
                if not self._queue:
                    self._ended = self._cut
                    return None
                self._bell.ring()  # it came in between, and more may have
            item = self._queue.popleft()
            if item == "end":
                self._ended = True
            elif item == "ending":
                self._ending = True
            else:
                return self._took(*item)
        return None

    def cut(self) -> None:
        """The sender is gone: what already came is still received, then the stream ends here."""
        super().cut()
        self._bell.ring()

    def _acknowledge(self, numbers: list[int]) -> None:
        self._outlet.hear(self, "done", tuple(numbers))

    def _say_finished(self) -> None:
        self._outlet.hear(self, "finished")

    def _say_leaving(self) -> None:
        self._outlet.hear(self, "leaving")

    @property
    def _closed(self) -> bool:
        return self._bell.fd < 0

    def _shut(self) -> None:
        self._bell.close()


class MemoryLink:
    """A memory link with one receiver, both ends at once."""

    def __init__(self, policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES, link: str = "memory") -> None:
        self.outlet = MemoryOutlet(link, policy=policy, limit_bytes=limit_bytes)
        self.inlet = self.outlet.join("only")
        self.outlet.pump()
