"""MemoryLink: a link between two threads of one process; a block is handed over, never copied."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any

from camlink.block import Block
from camlink.carry.account import Account
from camlink.carry.link import DEFAULT_LIMIT_BYTES, Policy


class MemoryLink:
    """Both ends of a link in one process, joined by a queue whose size is bounded in bytes."""

    def __init__(self, policy: Policy = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.policy = policy
        self.limit_bytes = limit_bytes
        self.lock = threading.Lock()
        self.queue: deque[Block] = deque()
        self.unreleased_bytes = 0
        self.closing = False
        self.acknowledged_end = False
        self.detached = ""
        self.outlet = MemoryOutlet(self)
        self.inlet = MemoryInlet(self)


class _End:
    """What both ends share: the link, an account and a file descriptor that wakes its owner."""

    def __init__(self, link: MemoryLink) -> None:
        self.account = Account()
        self._link = link
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def pollable(self) -> Any:
        """The file descriptor to poll."""
        return self._event

    def wake(self) -> None:
        """Make `pollable` readable."""
        if self._event >= 0:
            os.eventfd_write(self._event, 1)

    def calm(self) -> None:
        """Make `pollable` unreadable until the next wake."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return

    def _shut(self) -> None:
        with self._link.lock:
            event, self._event = self._event, -1
        if event >= 0:
            os.close(event)


class MemoryOutlet(_End):
    """The sending end in memory."""

    @property
    def ready(self) -> bool:
        """Both ends exist from the start."""
        return True

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Put the block on the queue; under `latest` it replaces the one that waits."""
        link, nbytes = self._link, block.nbytes
        with link.lock:
            if link.detached:
                self.account.sent += block.count
                self.account.count_lost(link.detached, block.count)
                return True
            if link.policy == "latest":
                for old in link.queue:
                    self.account.count_dropped("latest", old.count)
                link.queue.clear()
            elif link.unreleased_bytes and link.unreleased_bytes + nbytes > link.limit_bytes:
                return False
            else:
                link.unreleased_bytes += nbytes
                self.account.count_sent(block.count, nbytes, time.time())
            link.queue.append(block)
            link.inlet.wake()
        return True

    def pump(self) -> None:
        """Nothing travels back in memory: the inlet writes our account."""
        self.calm()

    def finish(self) -> None:
        """Say that nothing follows."""
        with self._link.lock:
            self._link.closing = True
            self._link.inlet.wake()

    @property
    def finished(self) -> bool:
        """True when the receiver has acknowledged the end."""
        return self._link.acknowledged_end or bool(self._link.detached)

    def detach(self, reason: str) -> None:
        """The receiver is gone: what is in flight and what follows is lost with this reason."""
        with self._link.lock:
            self._link.detached = reason
            if self._link.policy == "latest":
                for block in self._link.queue:
                    self.account.count_dropped("latest", block.count)
            self.account.count_lost(reason, self.account.snapshot().in_flight)
            self._link.queue.clear()
            self.wake()

    def close(self) -> None:
        """Close the file descriptor; loses what was not acknowledged."""
        in_flight = self.account.snapshot().in_flight
        if in_flight:
            self.detach("not acknowledged")
        self._shut()


class MemoryInlet(_End):
    """The receiving end in memory."""

    def __init__(self, link: MemoryLink) -> None:
        super().__init__(link)
        self._held: list[Block] = []

    def receive(self) -> Block | None:
        """The next block if one is there."""
        link = self._link
        with link.lock:
            self.calm()
            if not link.queue:
                return None
            block = link.queue.popleft()
            if link.policy == "latest":  # the newest counts as sent when it is taken; until then it may be dropped
                link.unreleased_bytes += block.nbytes
                link.outlet.account.count_sent(block.count, block.nbytes, time.time())
            if link.queue or link.closing:
                self.wake()
        self._held.append(block)
        self.account.count_received(block.count, block.nbytes, time.time(), block.header.made_s)
        return block

    def release(self) -> None:
        """Hand the credit of every block received so far back."""
        if not self._held:
            return
        link = self._link
        with link.lock:
            for block in self._held:
                link.unreleased_bytes -= block.nbytes
                if not link.detached:
                    link.outlet.account.count_acknowledged(block.count, block.nbytes)
                self.account.acknowledged += block.count
            link.outlet.wake()
        self._held.clear()

    @property
    def ended(self) -> bool:
        """True when the sender has closed and every block was received."""
        return self._link.closing and not self._link.queue

    def cut(self) -> None:
        """The sender is gone: the stream ends here."""
        self._link.closing = True
        self.wake()

    def close(self) -> None:
        """Acknowledge the end, or tell the sender that nobody reads any more."""
        self.release()
        link = self._link
        if self.ended:
            with link.lock:
                link.acknowledged_end = True
                link.outlet.wake()
            self._shut()
        else:
            self.abandon("receiver ended early")

    def abandon(self, reason: str = "receiver failed") -> None:
        """What was not released is lost to the sender."""
        if not self._link.acknowledged_end:
            self._link.outlet.detach(reason)
        self._shut()
