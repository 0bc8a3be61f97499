"""Work: what a worker does between Go and its end: blocks from the inboxes through the body to the outboxes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from camlink.block import Block, Turn, Void
from camlink.carry.link import Outlet
from camlink.errors import CamlinkError, OperatorFailed
from camlink.policy import read_policy
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.flow import SLICE_S, Inbox, Ordered, Outbox, Sent, finish, wait
from camlink.runtime.work.given import Given
from camlink.runtime.work.hand import Hand
from camlink.runtime.work.joined import Joined
from camlink.runtime.work.order import Order
from camlink.runtime.work.order_mark import OrderMark
from camlink.runtime.work.porter import Porter
from camlink.runtime.work.pulse import Pulse
from camlink.workflow.operator import Kind, Operator
from camlink.workflow.parameter import build

TRIES: Final = 2
MOST_IN_A_ROW: Final = 10
_LOOK_S: Final = 1.0
_NO_FRAMES: Final = np.zeros(0, np.int64)


class Work:
    """The ports of one worker and its body."""

    def __init__(self, spec: WorkerSpec, operator: Operator, body: Any, hand: Hand | None, pulse: Pulse,
                 look: Callable[[], None], part: Callable[[str, bool], None], context: WorkerContext) -> None:
        self._spec, self._operator, self._body, self._look = spec, operator, body, look
        self._part, self._pulse, self._context = part, pulse, context
        self._in_a_row = 0
        self.outboxes: dict[str, Outbox] = {}
        self.porters = {port.name: self._porter(port.name, hand) for port in operator.inputs}
        self.inboxes: dict[str, Inbox] = {}
        self.joined: Joined | None = None
        self.leaving = False
        self._noted = Given(spec) if spec.resumes else None

    def open(self, outlets: dict[str, Outlet]) -> None:
        """Make the boxes, once the outgoing links are bound."""
        single = len(self._operator.outputs) == 1
        name = self._spec.operator
        self.outboxes = {
            port.name: Outbox(name if single else f"{name}.{port.name}",
                              [outlets[s.name] for s in self._spec.outputs if s.output == port.name], self._look,
                              self._spec.first_sequence,
                              [outlets[s.name] for s in self._spec.outputs if s.output == port.name and s.turns])
            for port in self._operator.outputs}
        self.inboxes = {port: Inbox(porter, self._look, self.outboxes.values(), self._ordered(port))
                        for port, porter in self.porters.items()}
        for port, inbox in self.inboxes.items():
            inbox.completed = partial(self._part, port, True)
            if self._operator.streams:
                inbox.pulse = self._pulse
        if self._operator.joins and self._spec.join is not None:
            self.joined = Joined(self._spec.join, self._operator.inputs, self.inboxes, self.porters)

    def run(self) -> None:
        """The body from its first to its last block, then the acknowledged end of every link."""
        if self._operator.streams:
            self._stream()
        elif self.joined is not None:
            self._by_meeting(self.joined)
        else:
            (inbox,), (porter,) = self.inboxes.values(), self.porters.values()
            if any(outbox.told for outbox in self.outboxes.values()):
                inbox.passed = partial(self._in_turn, [])
            self._by_block(inbox, porter)
        self._look()  # who came to an end because nobody is left must not tell others that this is the end
        for port, inbox in self.inboxes.items():
            if not inbox.ended and not self.leaving:
                self._part(port, False)
            inbox.close()
        finish([outlet for outbox in self.outboxes.values() for outlet in outbox.outlets], self._look)

    def _stream(self) -> None:
        self._pulse.work()
        for port, block in self._given(self._body(*self.inboxes.values())):
            self._pulse.rest()
            self._hold()
            sequence = self.outboxes[port].send(block)
            if self._noted is not None:
                self._noted.note(self.outboxes[port], sequence, block)
            self._pulse.work()
        self._pulse.rest()

    def _hold(self) -> None:
        """While the source is held nothing of it goes out; what went out is looked after."""
        while self._context.is_held and self._operator.pauses and not self._context.stopping():
            wait([outlet for outbox in self.outboxes.values() for outlet in outbox.outlets], SLICE_S)
            self._look()
            for outbox in self.outboxes.values():
                outbox.pump()

    def change(self, values: Mapping[str, Any]) -> None:
        """Work with other parameters from the next block on; who lives as long as the scan asks for them."""
        parameters = build(self._operator.parameters, dict(values), self._spec.operator)
        if not self._operator.stateful:
            if not self._operator.streams:
                self._body = self._operator.make(parameters, self._context)
        else:
            self._body.change(parameters)

    def tell(self) -> dict[str, Any]:
        """What a heartbeat says of the blocks at all ports."""
        parts = list(self.porters.values())
        aside: dict[str, int] = {}
        for part in parts:
            for reason, count in list(part.aside.items()):
                aside[reason] = aside.get(reason, 0) + count
        recalled = [part.recalled for part in parts]
        return {"repeated": sum(part.repeated for part in parts), "aside": aside,
                "remembered": sum(part.remembered for part in parts),
                "recalled": -1 if -1 in recalled else sum(recalled),
                "busy_s": self._pulse.busy_s,
                "unkept": next((part.broken for part in parts if part.broken), "")}

    def facts(self) -> dict[str, Any]:
        """What a heartbeat says of joins, of all that was not in order, and of journals that are damaged."""
        told = self.joined.facts() if self.joined is not None else {}
        warnings = [*told.get("warnings", [])]
        warnings += [one for inbox in self.inboxes.values() if inbox.ordered for one in inbox.ordered.order.warnings]
        warnings += [one for porter in self.porters.values() for one in porter.damage]
        return {**told, "warnings": warnings} if warnings else told

    def close(self, *, well: bool) -> None:
        """Close the journals; they go when the worker ended well."""
        for inbox in self.inboxes.values():
            if inbox.ordered is not None:
                inbox.ordered.mark.close(well=well)
        if self._noted is not None:
            self._noted.close(well=well)
        for porter in self.porters.values():
            porter.close(well=well)

    def _porter(self, port: str, hand: Hand | None) -> Porter:
        operator = self._operator
        links = [link for link in self._spec.inputs if link.input == port]
        once = all(read_policy(link.policy).lossless for link in links)
        if operator.kind is Kind.VIEW or (operator.kind is Kind.SOURCE and not operator.resumes) or not once:
            return Porter(self._spec, port, hand, once=once)
        return Porter(self._spec, port, hand, once=True,
                       kept="all" if operator.streams or operator.joins else "after" if operator.stateful else "none")

    def _ordered(self, port: str) -> Ordered | None:
        """What the port needs where the operator takes frames in order."""
        if not self._spec.order_wait_s:
            return None
        mark = OrderMark(self._spec, port)
        return Ordered(Order(self._spec.order_wait_s, mark.known), mark)

    def _by_block(self, inbox: Inbox, porter: Porter) -> None:
        while not self.leaving:
            block = inbox.take(_LOOK_S)
            if block is not None:
                made = self._make({porter: block})
                turn = inbox.turn
                inbox.done(self._in_turn(made, block, turn) if turn is not None else self._send(made))
            elif inbox.ended:
                break
        if self.leaving:
            inbox.leave()
        self._finish()

    def _by_meeting(self, joined: Joined) -> None:
        for given in joined:
            self._send(self._make({self.porters[port]: block for port, block in given.items()}))
        self._finish()

    def _finish(self) -> None:
        finish = getattr(self._body, "finish", None)
        if finish is not None:
            self._send(self._given(finish()))

    def _make(self, given: Mapping[Porter, Block | None]) -> list[tuple[str, Block]]:
        """What the body makes of its blocks; those on which it raises twice are set aside, and the rest goes on."""
        there = {porter: block for porter, block in given.items() if block is not None}
        for left in reversed(range(TRIES)):
            self._pulse.work()
            try:
                made = list(self._given(self._body(*given.values())))
            except (CamlinkError, MemoryError):
                raise  # about more than this block: the input is wrong, the disk is full, the memory is spent
            except Exception as error:  # the code of somebody else
                self._log(error)
                if not left:
                    self._set_aside(there, error)
            else:
                self._in_a_row = 0
                for porter, block in there.items():
                    porter.keep_after(block, self._body)
                return made
            finally:
                self._pulse.rest()
        return []

    def _set_aside(self, there: Mapping[Porter, Block], error: Exception) -> None:
        self._in_a_row += 1
        text = f"{type(error).__name__}: {error}"
        if self._in_a_row >= MOST_IN_A_ROW:
            raise OperatorFailed(f"{text} (and so on {MOST_IN_A_ROW} blocks in a row)") from error
        for number, (porter, block) in enumerate(there.items()):
            porter.put_aside(block, text, counts=not number)

    def _send(self, made: list[tuple[str, Block]] | Iterator[tuple[str, Block]]) -> Sent:
        return tuple((self.outboxes[port], self.outboxes[port].send(block)) for port, block in made)

    def _in_turn(self, made: list[tuple[str, Block]], block: Block, turn: Turn) -> Sent:
        """Send what was made of a block with its turn, where somebody takes frames in order; a Void for nothing."""
        sent = self._send((port, one) for port, one in made if not self.outboxes[port].told)
        for port, outbox in self.outboxes.items():
            if not outbox.told:
                continue
            blocks: list[Block] = [one for name, one in made if name == port]
            blocks = blocks or [Void(block.header, {"index": block.arrays.get("index", _NO_FRAMES)})]
            for part, one in enumerate(blocks):
                place = msgspec.structs.replace(turn, part=part, parts=len(blocks))
                sent += ((outbox, outbox.send(one, place)),)
        return sent

    def _given(self, given: Any) -> Iterator[tuple[str, Block]]:
        return blocks_of(given, next(iter(self.outboxes), ""))

    def _log(self, error: Exception) -> None:
        write_trace(self._spec, error)


def blocks_of(given: Any, first: str) -> Iterator[tuple[str, Block]]:
    """Port and block of what a body gives: nothing, a block (port `first`), a NamedTuple, or an iterable of these."""
    if given is None:
        return
    if isinstance(given, Block):
        if first:
            yield first, given
    elif hasattr(given, "_fields"):
        for port, block in zip(given._fields, given, strict=True):
            if block is not None:
                yield port, block
    else:
        for one in given:
            yield from blocks_of(one, first)


def write_trace(spec: WorkerSpec, error: Exception) -> None:
    """Append the trace of an error to the log of the operator; a disk that refuses costs the trace, not the word."""
    log = Path(spec.folder) / "log" / f"{spec.operator}.log"
    with suppress(OSError), log.open("a", encoding="utf8") as file:
        traceback.print_exception(error, file=file)
