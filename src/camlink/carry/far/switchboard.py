"""Switchboard: one thread's sockets: listeners, connections that say a few bytes of fixed length, and splices."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from camlink.carry.far.splice import Splice

KEEPALIVE_S: Final = 15


class Wait:
    """A connection of which `wanted` bytes are awaited until `until_s` [s, monotonic]; then `heard(bytes)` is called.

    Afterwards the wait goes on for as many bytes as `wanted` says then. When the connection closes or the time is over
    the socket is closed and `lost` is called.
    """

    def __init__(self, dialled: socket.socket, wanted: int, until_s: float, heard: Callable[[bytes], None],
                 lost: Callable[[], None]) -> None:
        self.socket, self.wanted, self.until_s, self.heard, self.lost = dialled, wanted, until_s, heard, lost
        self.got = b""


class Switchboard:
    """Waits for everything at once; `turn` is one round."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waits: dict[int, Wait] = {}
        self._splices: set[Splice] = set()
        self._moved = 0

    @property
    def splices(self) -> int:
        """Pairs of connections that are joined now."""
        return len(self._splices)

    @property
    def moved(self) -> int:
        """Bytes that went through all splices."""
        return self._moved + sum(splice.moved for splice in self._splices)

    def listen(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        """Accept connections of a listener."""
        listener.setblocking(False)

        def accept() -> None:
            for _ in range(64):
                try:
                    dialled, _ = listener.accept()
                except OSError:
                    return  # nobody is left, or too many files are open: the backlog keeps them
                dialled.setblocking(False)
                keep_alive(dialled)
                accepted(dialled)

        self._selector.register(listener, selectors.EVENT_READ, accept)

    def wait(self, wait: Wait) -> None:
        """Wait for the bytes of a connection."""
        wait.socket.setblocking(False)
        self._waits[wait.socket.fileno()] = wait
        self._selector.register(wait.socket, selectors.EVENT_READ, lambda: self._read(wait))

    def forget(self, wait: Wait) -> None:
        """Wait no longer; the socket stays open."""
        if self._waits.pop(wait.socket.fileno(), None) is not None:
            self._selector.unregister(wait.socket)

    def drop(self, wait: Wait) -> None:
        """Wait no longer and close the socket."""
        self.forget(wait)
        wait.socket.close()
        wait.lost()

    def join(self, a: socket.socket, b: socket.socket) -> None:
        """Splice two connections until one of them ends."""
        splice = Splice(a, b)
        self._splices.add(splice)
        self._move(splice)

    def turn(self, timeout_s: float) -> None:
        """Wait for something at most `timeout_s` and deal with it."""
        for key, _ in self._selector.select(timeout_s):
            now = self._selector.get_map().get(key.fd)
            if now is not None and now.fileobj is key.fileobj:  # else it was closed earlier in this round
                key.data()
        now_s = time.monotonic()
        for wait in [wait for wait in self._waits.values() if now_s > wait.until_s]:
            self.drop(wait)

    def close(self) -> None:
        """Close everything."""
        for wait in list(self._waits.values()):
            self.drop(wait)
        for splice in self._splices:
            splice.close()
        self._splices.clear()
        for key in list(self._selector.get_map().values()):
            with suppress(OSError):
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _read(self, wait: Wait) -> None:
        try:
            data = wait.socket.recv(wait.wanted - len(wait.got))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        wait.got += data
        if not data:
            self.drop(wait)
        elif len(wait.got) == wait.wanted:
            got, wait.got = wait.got, b""
            wait.heard(got)

    def _move(self, splice: Splice) -> None:
        splice.move()
        if splice.ended:
            for end in splice.ends:
                if end.fileno() in self._selector.get_map():
                    self._selector.unregister(end)
            self._splices.discard(splice)
            self._moved += splice.moved
            splice.close()
            return
        for end in splice.ends:
            self._attend(end, splice)

    def _attend(self, end: socket.socket, splice: Splice) -> None:
        """Wait for what matters at one end; for nothing while it is the other end's turn."""
        interest, key = splice.interest(end), self._selector.get_map().get(end.fileno())
        if key is None and interest:
            self._selector.register(end, interest, lambda: self._move(splice))
        elif key is not None and not interest:
            self._selector.unregister(end)
        elif key is not None and key.events != interest:
            self._selector.modify(end, interest, key.data)


def keep_alive(dialled: socket.socket) -> None:
    """A far end that vanished without a word is noticed by the kernel."""
    if dialled.family in (socket.AF_INET, socket.AF_INET6):
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
