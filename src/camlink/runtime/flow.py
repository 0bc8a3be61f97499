"""Inbox and Outbox: the operator's side of its links, where the waiting is done, always with an eye on the exit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import zmq

from camlink.block import Block
from camlink.carry.envelope import encode
from camlink.carry.link import Inlet, Outlet
from camlink.errors import Closed

_SLICE_S: Final = 0.1
DRAIN_S: Final = 60.0


class Inbox:
    """One input port: the blocks of every link that feeds it; what the operator takes next releases what it took."""

    def __init__(self, inlets: list[Inlet], look: Callable[[], None]) -> None:
        self._inlets = inlets
        self._look = look
        self._turn = 0
        self._last: Inlet | None = None
        self._poller = zmq.Poller()
        for inlet in inlets:
            self._poller.register(inlet.pollable, zmq.POLLIN)

    def take(self, timeout_s: float = 0.0) -> Block | None:
        """The next block of any link in turn, or None when none came in time or all have ended."""
        self.release()
        deadline = time.monotonic() + timeout_s
        while True:
            block = self._receive()
            if block is not None or self.ended:
                return block
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._poller.poll(max(int(min(left, _SLICE_S) * 1000), 1))
            self._look()

    @property
    def ended(self) -> bool:
        """True when every block was taken and every sender has closed."""
        return all(inlet.ended for inlet in self._inlets)

    def __iter__(self) -> Iterator[Block]:
        """Every block in turn, until the stream has ended."""
        while True:
            block = self.take(3600.0)
            if block is not None:
                yield block
            elif self.ended:
                return

    def release(self) -> None:
        """The operator is done with what it took."""
        if self._last is not None:
            self._last.release()
            self._last = None

    def close(self) -> None:
        """Release and acknowledge the end."""
        self.release()
        for inlet in self._inlets:
            inlet.close()

    def _receive(self) -> Block | None:
        count = len(self._inlets)
        for step in range(count):
            inlet = self._inlets[(self._turn + step) % count]
            block = inlet.receive()
            if block is not None:
                self._turn = (self._turn + step + 1) % count
                self._last = inlet
                return block
        return None


class Outbox:
    """One output port: stamps each block and gives it to every link, waiting where a lossless link has no credit."""

    def __init__(self, source: str, outlets: list[Outlet], look: Callable[[], None]) -> None:
        self._source, self._outlets, self._look = source, outlets, look
        self._sequence = 0
        self.scan = ""

    def send(self, block: Block) -> None:
        """Send to every link; raises Closed when the run is given up while a link has no credit."""
        header = msgspec.structs.replace(block.header, source=self._source, sequence=self._sequence)
        self._sequence += 1
        self.scan = header.scan.id
        stamped = type(block)(header, block.arrays)
        parts: list[Any] = encode(stamped) if self._outlets else []
        for outlet in self._outlets:
            while not outlet.offer(stamped, parts):
                wait([outlet], _SLICE_S)
                self._look()

    def close(self) -> None:
        """Say that nothing follows, and wait until every receiver has acknowledged it, while there is progress."""
        for outlet in self._outlets:
            outlet.finish()
        seen, since = -1, time.monotonic()
        while open_ends := [o for o in self._outlets if not o.finished]:
            wait(open_ends, _SLICE_S)
            self._look()
            for outlet in open_ends:
                outlet.pump()
            acknowledged = sum(o.account.acknowledged for o in self._outlets)
            if acknowledged != seen:
                seen, since = acknowledged, time.monotonic()
            if time.monotonic() - since > DRAIN_S:
                for outlet in open_ends:
                    outlet.detach(f"no acknowledgement in {DRAIN_S:g} s")


def wait(ends: list[Any], timeout_s: float) -> None:
    """Wait until one of the link ends has something to do, at most `timeout_s`."""
    poller = zmq.Poller()
    for end in ends:
        poller.register(end.pollable, zmq.POLLIN)
    poller.poll(int(timeout_s * 1000))


def given_up(reason: str) -> Closed:
    """The exception that ends a wait because the run was given up."""
    return Closed(f"the run was given up: {reason}")
