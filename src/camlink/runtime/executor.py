"""ThreadExecutor: pieces of work on threads of this process, by priority; the default, without any cluster."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from typing import Any, Final

from camlink.errors import Closed, OperatorFailed, PeerLost
from camlink.workflow.executor import Handle, Tally, TaskState

THREADS: Final = 2
_Piece = tuple[int, int, "LocalHandle", Callable[..., Any], tuple[Any, ...]]


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
            raised = self.future.exception(timeout_s)
        except CancelledError:
            raise Closed("the work was cancelled") from None
        except TimeoutError:
            raise PeerLost(f"the work was not done in {timeout_s:g} s; wait longer or cancel it") from None
        if raised is not None:
            raise OperatorFailed(f"the work raised {type(raised).__name__}: {raised}") from raised
        return self.future.result()

    def cancel(self) -> None:
        """Do not begin it."""
        self.future.cancel()


class Held:
    """The handles of work that is not settled, and how much was settled in each way; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: Counter[TaskState] = Counter()
        self.waiting: list[Handle] = []

    def add(self, handles: Iterable[Handle]) -> None:
        """Hold some more."""
        with self._lock:
            self.waiting += handles

    def tally(self) -> Tally:
        """How far everything is; what is settled is let go, with its result."""
        with self._lock:
            states = [(handle, handle.state) for handle in self.waiting]
            self.waiting = [handle for handle, state in states if state == "waiting"]
            self._settled.update(state for _, state in states if state != "waiting")
            return Tally(len(self.waiting), *(self._settled[state] for state in ("done", "failed", "cancelled")))


class ThreadExecutor:
    """Work on threads of this process, by priority; the default, without any cluster."""

    def __init__(self, threads: int = THREADS) -> None:
        self._number = itertools.count()
        self._heap: list[_Piece] = []
        self._held = Held()
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
            self._held.add([handle])
        self._line_up((-priority, next(self._number), handle, work, arguments))
        return handle

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], *, priority: int = 0) -> list[Handle]:
        """One piece of work for each item."""
        return [self.submit(work, item, priority=priority) for item in items]

    def tally(self) -> Tally:
        """How far everything is."""
        return self._held.tally()

    def close(self) -> None:
        """Cancel what has not begun; what runs on a thread ends by itself."""
        with self._wake:
            self._closing = True
            self._heap.clear()
            self._wake.notify_all()
        for handle in reversed(self._held.waiting):  # before what it waits for, whose end would call it and so on
            handle.cancel()
        for thread in self._threads:
            thread.join(5)

    def _line_up(self, piece: _Piece) -> None:
        """Let work be taken once that is settled which it needs the results of: no thread waits for another one."""
        *_, handle, _, arguments = piece
        for needed in arguments:
            if isinstance(needed, LocalHandle) and not needed.future.done():
                needed.future.add_done_callback(lambda _: self._line_up(piece))
                return
        with self._wake:
            if self._closing:
                handle.cancel()
                return
            heapq.heappush(self._heap, piece)
            self._wake.notify()

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
