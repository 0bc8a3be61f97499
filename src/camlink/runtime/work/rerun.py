"""Rerun: an operator over blocks that are all there already; what it cannot bear is set aside, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from camlink.block import Block
from camlink.errors import CamlinkError, OperatorFailed
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.hand import Hand, read_hand
from camlink.runtime.work.joined import joined
from camlink.runtime.work.porter import JOURNALS, Porter
from camlink.runtime.work.work import MOST_IN_A_ROW, blocks_of, write_trace
from camlink.workflow.operator import Operator
from camlink.workflow.port import Listed

Given = Iterator[tuple[str, Block]]


class Rerun:
    """One more attempt at an operator, in this process.

    `make` gives a fresh body, `inputs` the blocks of each port. A block on which it raises becomes a dead letter, as do
    those that are one already; an Inflow then begins anew without it. A block that ends this process is found in the
    hand that the process left, the next time.
    """

    def __init__(self, spec: WorkerSpec, operator: Operator, make: Callable[[], Any],
                 inputs: Mapping[str, list[Block]]) -> None:
        self._spec = msgspec.structs.replace(spec, attempt=spec.attempt + 1,
                                             sockets=str(Path(spec.folder) / JOURNALS))
        self._operator, self._make, self._inputs = operator, make, inputs
        ended = read_hand(self._spec)
        self._hand = Hand(self._spec)
        self._porters = {port: Porter(self._spec, port, self._hand, once=False) for port in inputs}
        if ended:
            for porter in self._porters.values():
                porter.set_aside[ended] = "it ended the process that finished the run"
        self._in_a_row = self._reached = 0

    @property
    def aside(self) -> dict[str, int]:
        """Frames that were set aside, now or before, by reason."""
        found: dict[str, int] = {}
        for porter in self._porters.values():
            for reason, count in porter.aside.items():
                found[reason] = found.get(reason, 0) + count
        return found

    def __iter__(self) -> Given:
        """Port and block of all that the operator makes; raises what is about more than a block."""
        try:
            if self._operator.streams:
                yield from self._stream()
                return
            body, first = self._make(), self._first
            for meeting in self._meetings():
                yield from self._tried(meeting, lambda given: list(blocks_of(body(*given.values()), first)))
            if hasattr(body, "finish"):
                yield from blocks_of(body.finish(), first)
        finally:
            self._hand.close()
            read_hand(self._spec)  # it goes: this process did not end

    def _stream(self) -> Given:
        """The body over all blocks, from its beginning again when it raised at one of them."""
        while True:
            ports = {name: _Watched(porter, self._admitted(name)) for name, porter in self._porters.items()}
            try:
                yield from blocks_of(self._make()(*ports.values()), self._first)
            except (CamlinkError, MemoryError):
                raise
            except Exception as error:  # the code of somebody else
                held = {port.porter: port.last for port in ports.values()
                        if port.last is not None and self._hand.holds(port.last)}
                if not held:
                    raise OperatorFailed(f"{type(error).__name__}: {error}") from error
                taken = sum(port.count for port in ports.values())
                if taken > self._reached:  # it stood there without the one set aside: those between were good
                    self._in_a_row, self._reached = 0, taken
                self._put_aside(held, error)
            else:
                return

    def _meetings(self) -> Iterator[dict[str, Block | None]]:
        """What the body takes at once."""
        admitted = {name: self._admitted(name) for name in self._porters}
        if self._spec.join is not None:
            for meeting in joined(self._spec.join, self._operator.inputs, admitted):
                yield {name: None if block is None else _in_memory(block) for name, block in meeting.items()}
        else:
            for name, blocks in admitted.items():
                for block in blocks:
                    yield {name: _in_memory(block)}

    def _tried(self, meeting: dict[str, Block | None], work: Callable[[Any], list[tuple[str, Block]]]) -> Given:
        there = {self._porters[name]: block for name, block in meeting.items() if block is not None}
        for porter, block in there.items():
            porter.hold(block)
        try:
            made = work(meeting)
        except (CamlinkError, MemoryError):
            raise
        except Exception as error:  # the code of somebody else
            self._put_aside(there, error)
            return
        for porter in there:
            porter.empty()
        self._in_a_row = 0
        yield from made

    def _put_aside(self, there: Mapping[Porter, Block], error: Exception) -> None:
        write_trace(self._spec, error)
        text = f"{type(error).__name__}: {error}"
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            raise OperatorFailed(f"{text} (and so on {MOST_IN_A_ROW} blocks in a row)") from error
        for number, (porter, block) in enumerate(there.items()):
            porter.put_aside(block, text, counts=not number)

    def _admitted(self, port: str) -> list[Block]:
        porter = self._porters[port]
        return [block for block in self._inputs[port] if not porter.lies_aside(block) and porter.admit(block)]

    @property
    def _first(self) -> str:
        return self._operator.outputs[0].name if self._operator.outputs else ""


def _in_memory(block: Block) -> Block:
    """The block with arrays of its own: those of a mapped file lie at any address, which compiled code may not take."""
    return type(block)(block.header, {name: array.copy() for name, array in block.arrays.items()})


class _Watched(Listed[Block]):
    """An Inflow of which is known what was taken last; at its end the operator is done with that."""

    def __init__(self, porter: Porter, blocks: list[Block]) -> None:
        super().__init__(blocks)
        self.porter = porter
        self.last: Block | None = None
        self.count = 0

    def take(self, timeout_s: float = 0.0) -> Block | None:
        """The next block, which is in hand from now on."""
        self.last = super().take(timeout_s)
        if self.last is None:
            self.porter.empty()
        else:
            self.count += 1
            self.last = _in_memory(self.last)
            self.porter.hold(self.last)
        return self.last
