"""Replay: the launches of an iteration recorded once as a CUDA graph, then repeated in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final

CALLS_BEFORE: Final = 2
AHEAD: Final = 2
URGENT: Final = -5


class Replay:
    """Repeats `work` for as long as its key stays the same; without `space`, that is cupy, it only calls it.

    Work is called a few times before it is recorded, so that whatever is made at first use is made. It must write what
    it finds into arrays that outlive it, and must not wait for the GPU. What it allocates comes from a pool of its own,
    so that nobody else gets that memory. The host runs ahead by a step or two and no further, so that its clock tells
    what a step costs.
    """

    def __init__(self, space: Any = None, wait: Callable[[Any], None] | None = None) -> None:
        """`wait` is how to wait for an event of the GPU."""
        self._space = space
        self._wait = wait or (lambda event: event.synchronize())
        self._stream: Any = space.cuda.Stream() if space is not None else None
        self._side: Any = space.cuda.Stream(non_blocking=True, priority=URGENT) if space is not None else None
        self._aside: Any = None
        self._key: Hashable = None
        self._calls = 0
        self._graph: Any = None
        self._held: list[Any] = []
        self._done: deque[Any] = deque()

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do `work`, or what was recorded of it; a new key means other work."""
        if self._space is None:
            work()
            return
        while len(self._done) >= AHEAD:
            self._wait(self._done.popleft())
        if key != self._key:
            self.forget()
            self._key = key
        if self._graph is not None:
            self._graph.launch(self._stream)
        elif self._calls < CALLS_BEFORE:
            work()
        else:
            self._record(work)
        self._calls += 1
        self._done.append(self._space.cuda.get_current_stream().record())

    def forget(self) -> None:
        """Let go of what was recorded, and of what it holds."""
        self._key, self._calls, self._graph, self._held = None, 0, None, []

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Small launches that run beside what follows, until `join`; they go first, where there is room."""
        if self._space is None:
            yield
            return
        self._side.wait_event(self._space.cuda.get_current_stream().record())
        with self._side:
            yield
        self._aside = self._side.record()

    def join(self) -> None:
        """What follows needs what was done beside."""
        if self._aside is not None:
            self._space.cuda.get_current_stream().wait_event(self._aside)
            self._aside = None

    def _record(self, work: Callable[[], None]) -> None:
        """Do `work` once more and record it; the plans of its transforms live as long as the record."""
        space = self._space
        pool = space.cuda.MemoryPool()
        with self._stream, space.cuda.using_allocator(pool.malloc):
            work()
            self._stream.begin_capture()
            work()
            self._graph = self._stream.end_capture()
        self._held = [pool, [node.plan for _, node in space.fft.config.get_plan_cache()]]
