"""Executor: pieces of work (100 ms and more each, never a frame) on threads here, or on a site's cluster."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from typing import Any, Final, Literal, NamedTuple, Protocol

from camlink.errors import Closed, InputError, OperatorFailed, PeerLost

TaskState = Literal["waiting", "done", "failed", "cancelled"]
THREADS: Final = 2


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
        """How far everything is that was submitted and is still held."""
        ...

    def close(self) -> None:
        """Cancel what has not begun and end the rest, in bounded time."""
        ...


class LocalHandle:
    """Work on a thread of this process."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()

    @property
    def state(self) -> TaskState:
        """Where it is on its way."""
        if self.future.cancelled():
            return "cancelled"
        if not self.future.done():
            return "waiting"
        return "failed" if self.future.exception() else "done"

    def result(self, timeout_s: float) -> Any:
        """The result; raises OperatorFailed, Closed or PeerLost."""
        try:
            return self.future.result(timeout_s)
        except CancelledError:
            raise Closed("the work was cancelled") from None
        except TimeoutError:
            if self.future.done():
                raise OperatorFailed("the work raised TimeoutError") from None
            raise PeerLost(f"the work was not done in {timeout_s:g} s; wait longer or cancel it") from None
        except Exception as error:
            raise OperatorFailed(f"the work raised {type(error).__name__}: {error}") from error

    def cancel(self) -> None:
        """Do not begin it."""
        self.future.cancel()


class ThreadExecutor:
    """Work on threads of this process, by priority; the default, without any cluster."""

    def __init__(self, threads: int = THREADS) -> None:
        if threads < 1:
            raise InputError(f"an executor needs at least one thread, not {threads}")
        self._number = itertools.count()
        self._heap: list[tuple[int, int, LocalHandle, Callable[..., Any], tuple[Any, ...]]] = []
        self._handles: list[LocalHandle] = []
        self._wake = threading.Condition()
        self._closing = False
        self._threads = [threading.Thread(target=self._run, name=f"work {n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[..., Any], *arguments: Any, priority: int = 0) -> LocalHandle:
        """Take one piece of work; raises Closed after `close`."""
        handle = LocalHandle()
        with self._wake:
            if self._closing:
                raise Closed("the executor is closed")
            self._handles.append(handle)
            heapq.heappush(self._heap, (-priority, next(self._number), handle, work, arguments))
            self._wake.notify()
        return handle

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], *, priority: int = 0) -> list[Handle]:
        """One piece of work for each item."""
        return [self.submit(work, item, priority=priority) for item in items]

    def tally(self) -> Tally:
        """How far everything is."""
        return count(self._handles)

    def close(self) -> None:
        """Cancel what has not begun; what runs on a thread ends by itself."""
        with self._wake:
            self._closing = True
            for _, _, handle, _, _ in self._heap:
                handle.cancel()
            self._heap.clear()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(5)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._heap and not self._closing:
                    self._wake.wait()
                if not self._heap:
                    return
                _, _, handle, work, arguments = heapq.heappop(self._heap)
            if handle.future.set_running_or_notify_cancel():
                _work(handle, work, arguments)


def _work(handle: LocalHandle, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        given = [a.future.result(0) if isinstance(a, LocalHandle) else a for a in arguments]
        handle.future.set_result(work(*given))
    except BaseException as error:  # it belongs to who asks for the result
        handle.future.set_exception(error)


def count(handles: Iterable[Handle]) -> Tally:
    """The tally of some handles."""
    states = [handle.state for handle in handles]
    return Tally(*(states.count(state) for state in ("waiting", "done", "failed", "cancelled")))
