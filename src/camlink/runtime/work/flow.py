"""Inbox and Outbox: the operator's side of its links, where the waiting is done, always with an eye on the exit."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import zmq
from numpy.typing import DTypeLike

from camlink.block import Array, Block, Turn, Void
from camlink.carry.envelope import encode
from camlink.carry.inlet import ANSWER_S
from camlink.carry.link import Inlet, Outlet
from camlink.errors import Closed
from camlink.runtime.messages import REPLICA_SEQUENCES
from camlink.runtime.work.order import Order
from camlink.runtime.work.order_mark import OrderMark
from camlink.runtime.work.porter import Porter
from camlink.runtime.work.pulse import Pulse

SLICE_S: Final = 0.1
_LOOK_S: Final = 0.02
DRAIN_S: Final = 60.0

Sent = tuple[tuple["Outbox", int], ...]


@dataclass(slots=True)
class _Taken:
    """A block that was taken: whose it is, and what must be settled before it is acknowledged; None while in work."""

    inlet: Inlet
    number: int
    turn: Turn | None
    waits: Sent | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a port needs that gives frames in order."""

    order: Order[_Taken]
    mark: OrderMark


class Inbox:
    """One input port: the blocks of every link that feeds it, each once, in turn.

    A block is acknowledged when the operator is done with it and everything that was made of it is settled; what the
    operator takes next tells that it is done with the one before.
    """

    def __init__(self, porter: Porter, look: Callable[[], None], outboxes: Iterable[Outbox] = (),
                 ordered: Ordered | None = None) -> None:
        self._porter, self._look = porter, look
        self._outboxes = tuple(outboxes)
        self.ordered = ordered
        self._inlets: list[Inlet] = []
        self._chains: dict[Inlet, int] = {}
        self._closed: list[Inlet] = []
        self._taken: deque[_Taken] = deque()
        self._earlier: Iterator[Block] | None = porter.earlier()
        self._turn = 0
        self._looked_s = 0.0
        self.awaited: dict[str, int] = {}
        self.complete = False
        self.completed: Callable[[], None] = _nothing
        self.passed: Callable[[Block, Turn], Sent] | None = None
        """Where somebody further on waits for turns: tells him of a block that the operator does not get."""
        self.turn: Turn | None = None
        self.pulse = Pulse()

    def add(self, inlet: Inlet, address: str = "") -> None:
        """One more sender feeds this port, an attempt that waited at `address`."""
        self._inlets.append(inlet)
        self._chains[inlet] = 1 << 32 | zlib.crc32(address.encode())

    @property
    def ends(self) -> list[Inlet]:
        """The links that may still bring something."""
        return [inlet for inlet in self._inlets if not inlet.ended]

    def take(self, timeout_s: float = 0.0) -> Block | None:
        """The next block of any link in turn, or None when none came in time or all have ended."""
        self.pulse.rest()
        try:
            return self._take(timeout_s)
        finally:
            self.pulse.work()

    def _take(self, timeout_s: float) -> Block | None:
        self.done()
        deadline = time.monotonic() + timeout_s
        while True:
            self._glance()
            block = self._next()
            if block is not None:
                return block
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                return None
            self.wait(min(left, SLICE_S))

    def done(self, waits: Sent = ()) -> None:
        """The operator is done with what it took; it is acknowledged once `waits` are settled."""
        self._porter.empty()
        if self._taken and self._taken[-1].waits is None:
            self._taken[-1].waits = waits
        self.free()

    def free(self) -> None:
        """Acknowledge, oldest first, what is settled."""
        while self._taken and (waits := self._taken[0].waits) is not None:
            if not all(outbox.settled(sequence) for outbox, sequence in waits):
                return
            done = self._taken.popleft()
            if self.ordered is None:
                done.inlet.release(1)
            else:
                self.ordered.mark.note(done.turn)
                done.inlet.release_one(done.number)

    def flush(self) -> None:
        """Wait until everything that was taken is settled and acknowledged."""
        self.done()
        while self._taken:
            self.wait(SLICE_S)

    @property
    def ended(self) -> bool:
        """True when every block was taken and every sender has closed; then for good, and `completed` is called once.

        A sender that is replaced after that could only send again what is here already.
        """
        self.pulse.beat()
        if not self.complete and self._earlier is None and not any(self.awaited.values()) and all(
                inlet.ended for inlet in self._inlets) and not (self.ordered and self.ordered.order.waits):
            self.complete = True
            self.completed()
        return self.complete

    def __iter__(self) -> Iterator[Block]:
        """Every block in turn, until the stream has ended."""
        while True:
            block = self.take(3600.0)
            if block is not None:
                yield block
            elif self.ended:
                return

    def close(self) -> None:
        """Acknowledge everything and the end; also what came again and was never asked for."""
        while self._porter.again and (found := self._receive()) is not None:
            inlet, block = found
            if isinstance(block, Void) or self._porter.admit(block) is not None:
                break
            self._taken.append(self._entry(inlet, block, ()))
        self.flush()
        for inlet in self._inlets:
            if self.ordered and self.ordered.order.waits:
                inlet.leave()  # what waits for its turn was never given to the operator
            else:
                inlet.close()

    def leave(self) -> None:
        """Finish what was begun and give back the rest, which goes to the other replicas."""
        self.flush()
        for inlet in self._inlets:
            inlet.leave()

    def _glance(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            self._look()

    def _next(self) -> Block | None:
        if self._earlier is not None:
            for block in self._earlier:
                if (fresh := self._porter.admit(block)) is not None:
                    self._porter.hold(fresh, known=True)
                    self.turn = self._turn_of(block, 0, -1)
                    if self.ordered is not None:
                        self.ordered.order.recall(block)
                    return fresh
            self._earlier = None
        found = self._next_in_order(self.ordered.order) if self.ordered is not None else self._next_that_came()
        if found is None:
            self._let_go()
            return None
        fresh, taken = found
        self.turn = taken.turn
        self._porter.hold(fresh)
        self._porter.keep_first(fresh)
        return fresh

    def _next_that_came(self) -> tuple[Block, _Taken] | None:
        while (found := self._receive()) is not None:
            inlet, block = found
            taken = self._entry(inlet, block)
            self._taken.append(taken)
            if not isinstance(block, Void) and (fresh := self._porter.admit(block)) is not None:
                return fresh, taken
            taken.waits = self.passed(block, taken.turn) if self.passed and taken.turn else ()
            self.free()
        return None

    def _next_in_order(self, order: Order[_Taken]) -> tuple[Block, _Taken] | None:
        """What waits for its turn is not acknowledged, so that it comes again if we are replaced."""
        while True:
            while (decided := order.take()) is not None:
                fresh, taken = decided
                self._taken.append(taken)
                if fresh is not None:
                    return fresh, taken
                taken.waits = ()
                self.free()
            found = self._receive()
            if found is not None:
                inlet, block = found
                fresh = None if isinstance(block, Void) else self._porter.admit(block)
                order.add(block, block.header.turn, fresh, self._entry(inlet, block))
            elif self._inlets and not any(self.awaited.values()) and all(inlet.ending for inlet in self._inlets):
                order.end()
                if not order.waits:
                    return None
            else:
                order.look()
                if not order.ready:
                    return None

    def _entry(self, inlet: Inlet, block: Block, waits: Sent | None = None) -> _Taken:
        return _Taken(inlet, inlet.number, self._turn_of(block, self._chains[inlet], inlet.number), waits)

    def _turn_of(self, block: Block, chain: int, number: int) -> Turn | None:
        """The turn that came with a block; one begins here only where somebody further on waits for it."""
        if block.header.turn is not None or self.passed is None:
            return block.header.turn
        return Turn(_origin(block), chain, number)

    def _let_go(self) -> None:
        """Acknowledge the end of each sender when it is there, so that none waits for the others."""
        for inlet in self._inlets:
            if inlet.ended and inlet not in self._closed:
                self._closed.append(inlet)
                inlet.close()

    def _receive(self) -> tuple[Inlet, Block] | None:
        count = len(self._inlets)
        for step in range(count):
            inlet = self._inlets[(self._turn + step) % count]
            block = inlet.receive()
            if block is not None:
                self._turn = (self._turn + step + 1) % count
                return inlet, block
        return None

    def wait(self, timeout_s: float, *others: Inbox) -> None:
        """Wait until a block may have come to this port or to one of the `others`, with an eye on everything else."""
        ends = [end for inbox in (self, *others) for end in inbox.ends]
        for outbox in self._outboxes:
            outbox.pump()
        timeout_s = min(timeout_s, ANSWER_S) if any(end.owes for end in ends) else timeout_s
        wait([*ends, *(end for outbox in self._outboxes for end in outbox.outlets)], timeout_s)
        for end in ends:
            end.pump()
        self._look()
        for outbox in self._outboxes:
            outbox.pump()
        self.free()


class Outbox:
    """One output port: stamps each block and gives it to every link, waiting where a lossless link has no credit."""

    def __init__(self, source: str, outlets: list[Outlet], look: Callable[[], None], first: int = 0,
                 told: Iterable[Outlet] = ()) -> None:
        self._source, self.outlets, self._look = source, outlets, look
        self.told = tuple(told)
        self._sequence = first
        self.scan = ""
        self.unsent: tuple[Block, list[Outlet]] | None = None
        """The block that found no room before the run was given up, and the links that do not have it."""

    def send(self, block: Block, turn: Turn | None = None) -> int:
        """Send to every link and give the sequence; raises Closed when the run is given up for want of credit.

        A Void goes only where somebody further on waits for turns.
        """
        header = msgspec.structs.replace(block.header, source=self._source, sequence=self._sequence, again=0, turn=turn)
        self._sequence += 1
        self.scan = header.scan.id
        stamped = type(block)(header, block.arrays)
        parts: list[Any] = encode(stamped) if self.outlets else []
        left = [*(self.told if isinstance(block, Void) else self.outlets)]
        try:
            self._look()
            while left:
                if left[0].offer(stamped, parts):
                    del left[0]
                else:
                    wait(self.outlets, SLICE_S)
                    self._look()
                    self.pump()
        except Closed:
            self.unsent = stamped, left
            raise
        return header.sequence

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array for the next block, in shared memory where a link has some: all links know it there."""
        shared = (outlet for outlet in self.outlets if outlet.address.startswith("shm:"))
        outlet = next(shared, None)
        return np.empty(shape, dtype) if outlet is None else outlet.room(shape, dtype)

    def settled(self, sequence: int) -> bool:
        """Whether nobody needs this block of us any more."""
        return all(outlet.settled(sequence) for outlet in self.outlets)

    def pump(self) -> None:
        """Take in acknowledgements, send what waits."""
        for outlet in self.outlets:
            outlet.pump()


def finish(outlets: list[Outlet], look: Callable[[], None]) -> None:
    """Say that nothing follows, and wait until every receiver has acknowledged it, while there is progress.

    All are listened to until the last has ended: a receiver that is replaced meanwhile says hello to us again.
    """
    for outlet in outlets:
        outlet.finish()
    seen, since = -1, time.monotonic()
    while not all(outlet.finished for outlet in outlets):
        wait(outlets, SLICE_S)
        look()
        for outlet in outlets:
            outlet.pump()
        acknowledged = sum(o.account.acknowledged for o in outlets)
        if acknowledged != seen:
            seen, since = acknowledged, time.monotonic()
        if time.monotonic() - since > DRAIN_S:
            for outlet in outlets:
                if not outlet.finished:
                    outlet.detach(f"no acknowledgement in {DRAIN_S:g} s")


def _nothing() -> None:
    return None


def _origin(block: Block) -> str:
    """Who gave a block that replicas share: each replica of a sender by itself, all its attempts together."""
    return f"{block.header.source}/{block.header.sequence // REPLICA_SEQUENCES}"


def wait(ends: list[Any], timeout_s: float) -> None:
    """Wait until one of the link ends has something to do, at most `timeout_s`."""
    poller = zmq.Poller()
    for end in ends:
        poller.register(end.pollable, zmq.POLLIN)
    poller.poll(int(timeout_s * 1000))


def given_up(reason: str) -> Closed:
    """The exception that ends a wait because the run was given up."""
    return Closed(f"the run was given up: {reason}")
