"""Splice: two connections joined; the kernel moves the bytes from one to the other, this process never sees them.

Each direction holds at most one pipe of `PIPE_BYTES`: when one end does not read, the other is not read either.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
from contextlib import suppress
from typing import Final

PIPE_BYTES: Final = 1 << 18
_F_SETPIPE_SZ: Final = 1031
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Flow:
    """One direction: what `source` sends goes through a pipe to `sink`; its end is passed on."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # the kernel may keep pipes of one user small; it works all the same
            fcntl.fcntl(self._in, _F_SETPIPE_SZ, PIPE_BYTES)
        self.waiting = 0
        self.moved = 0
        self.closed = self._at_end = False

    @property
    def hungry(self) -> bool:
        """Whether it would take more from its source."""
        return not self._at_end and self.waiting < PIPE_BYTES // 2

    def move(self) -> None:
        """Move what can be moved now; raises OSError when an end is broken."""
        for _ in range(16):  # then others have their turn
            took = self._take() if self.hungry else 0
            gave = self._give() if self.waiting else 0
            if not took and not gave:
                break
        if self._at_end and not self.waiting and not self.closed:
            self.closed = True
            with suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)

    def _take(self) -> int:
        try:
            count = os.splice(self._source.fileno(), self._in, PIPE_BYTES, flags=_FLAGS)
        except BlockingIOError:
            return 0
        self._at_end = count == 0
        self.waiting += count
        return count

    def _give(self) -> int:
        try:
            count = os.splice(self._out, self._sink.fileno(), self.waiting, flags=_FLAGS)
        except BlockingIOError:
            return 0
        self.waiting -= count
        self.moved += count
        return count

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._in)
        os.close(self._out)


class Splice:
    """Both directions between `a` and `b`, which it closes when both have ended or one is broken.

    Raises OSError, with all closed, when too many files are open.
    """

    def __init__(self, a: socket.socket, b: socket.socket) -> None:
        self.ends = (a, b)
        self._flows: list[Flow] = []
        self.ended = False
        try:
            for source, sink in ((a, b), (b, a)):
                source.setblocking(False)
                self._flows.append(Flow(source, sink))
        except OSError:
            self.close()
            raise

    @property
    def moved(self) -> int:
        """Bytes that went through, both ways."""
        return sum(flow.moved for flow in self._flows)

    def move(self) -> None:
        """Move what can be moved now."""
        try:
            for flow in self._flows:
                flow.move()
        except OSError:
            self.ended = True
        self.ended = self.ended or all(flow.closed for flow in self._flows)

    def interest(self, end: socket.socket) -> int:
        """What to wait for at one end: 0, reading, writing or both."""
        out, back = self._flows if end is self.ends[0] else self._flows[::-1]
        return (selectors.EVENT_READ if out.hungry else 0) | (selectors.EVENT_WRITE if back.waiting else 0)

    def close(self) -> None:
        """Close both ends and the pipes."""
        self.ended = True
        for flow in self._flows:
            flow.close()
        for end in self.ends:
            end.close()
