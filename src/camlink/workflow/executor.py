"""Executor: pieces of work (100 ms and more each, never a frame) on threads here, or on a site's cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol

TaskState = Literal["waiting", "done", "failed", "cancelled"]


class Tally(NamedTuple):
    """How far a batch of work is."""

    waiting: int
    done: int
    failed: int
    cancelled: int


class Handle(Protocol):
    """One piece of work; its result stays where it was made until somebody asks for it."""

    @property
    def state(self) -> TaskState:
        """Where it is on its way."""
        ...

    def result(self, timeout_s: float) -> Any:
        """The result; raises OperatorFailed when the work raised, Closed when it was cancelled, PeerLost in time."""
        ...

    def cancel(self) -> None:
        """Do not begin it, or forget what comes of it."""
        ...


class Executor(Protocol):
    """Takes work; higher `priority` goes first. A Handle among the arguments stands for its result, by reference."""

    def submit(self, work: Callable[..., Any], *arguments: Any, priority: int = 0) -> Handle:
        """Take one piece of work: a function that can be imported where it runs, and its arguments."""
        ...

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], *, priority: int = 0) -> list[Handle]:
        """One piece of work for each item."""
        ...

    def tally(self) -> Tally:
        """How far everything is that was submitted."""
        ...

    def close(self) -> None:
        """Cancel what has not begun and end the rest, in bounded time."""
        ...
