"""Ports: the named, typed ends of an operator, from type hints; and Inflow, what a long-lived operator reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from camlink.block import Block

B_co = TypeVar("B_co", bound=Block, covariant=True)


@dataclass(frozen=True, slots=True)
class Port:
    """A named, typed end of an operator; `streams` tells that the operator reads it as an Inflow.

    `optional` tells of an input of a join that it may be None.
    """

    name: str
    block: type[Block]
    streams: bool = False
    optional: bool = False

    def accepts(self, other: Port) -> bool:
        """Whether blocks of the output port `other` may enter this input port."""
        return issubclass(other.block, self.block)


@runtime_checkable
class Inflow(Protocol[B_co]):
    """Blocks that arrive while the operator works: a solver looks in, takes what is there and goes on iterating."""

    def take(self, timeout_s: float = 0.0) -> B_co | None:
        """The next block, or None when none arrived in `timeout_s` or the stream has ended."""
        ...

    @property
    def ended(self) -> bool:
        """True when every block was taken and every sender has closed."""
        ...

    def __iter__(self) -> Iterator[B_co]:
        """Every block in turn; waits for the next until the stream has ended."""
        ...


class Listed(Inflow[B_co]):
    """An Inflow over blocks that are already there: for notebooks, scripts and tests."""

    def __init__(self, blocks: Iterable[B_co]) -> None:
        self._blocks = list(blocks)
        self._next = 0

    def take(self, timeout_s: float = 0.0) -> B_co | None:
        """The next block, or None at the end."""
        if self.ended:
            return None
        self._next += 1
        return self._blocks[self._next - 1]

    @property
    def ended(self) -> bool:
        """True when every block was taken."""
        return self._next >= len(self._blocks)

    def __iter__(self) -> Iterator[B_co]:
        """Every block in turn."""
        while (block := self.take()) is not None:
            yield block
