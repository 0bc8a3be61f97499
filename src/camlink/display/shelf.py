"""Shelf: things computed once and shared by every reader, the least used given up first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAIT_S: Final = 30.0


class Shelf(Generic[T]):
    """Keeps up to `limit_bytes` of things by key; a key that several threads want at once is made by one of them."""

    def __init__(self, limit_bytes: int, size: Callable[[T], int]) -> None:
        self._limit_bytes = limit_bytes
        self._size = size
        self._lock = threading.Lock()
        self._futures: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._bytes = 0
        self.made = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing under `key`, made by `make` when it is not there; an error of `make` reaches every waiter."""
        with self._lock:
            future = self._futures.get(key)
            if future is not None:
                self._futures.move_to_end(key)
            else:
                mine = self._futures[key] = Future()
        if future is not None:
            return future.result(timeout=WAIT_S)
        try:
            thing = make()
        except BaseException as error:  # handed on, not handled: waiters must not hang
            with self._lock:
                self._futures.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(thing)
        self._account(thing)
        return thing

    def peek(self, key: Hashable) -> T | None:
        """The thing under `key` when it is there and made."""
        with self._lock:
            future = self._futures.get(key)
        return future.result() if future is not None and future.done() and future.exception() is None else None

    def _account(self, thing: T) -> None:
        with self._lock:
            self.made += 1
            self._bytes += self._size(thing)
            for key in list(self._futures)[:-1]:
                if self._bytes <= self._limit_bytes:
                    break
                if self._futures[key].done():
                    self._bytes -= self._size(self._futures.pop(key).result())
