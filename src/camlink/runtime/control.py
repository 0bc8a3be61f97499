"""Line: a worker's end of the control network."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

import zmq

from camlink.errors import WireError
from camlink.runtime.messages import MAX_CONTROL_BYTES, Message, decode, encode

PROGRESS_S: Final = 0.25


class Line:
    """A worker's line to its agent: a thread that speaks, listens and sends the heartbeat; the owner never waits."""

    def __init__(self, context: zmq.Context[Any], address: str, identity: str,
                 progress: Callable[[], Message | None], arrived: Callable[[Message], None]) -> None:
        self._progress, self._arrived = progress, arrived
        self.refused = 0
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._outbox: deque[bytes] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, identity.encode())
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_CONTROL_BYTES)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.connect(address)
        self._thread = threading.Thread(target=self._run, name=f"control {identity}", daemon=True)
        self._thread.start()

    def say(self, message: Message) -> None:
        """Send a message; returns at once."""
        self._outbox.append(encode(message))
        os.eventfd_write(self._wake, 1)

    def hear(self, timeout_s: float) -> Any:
        """The next message, or None when none came in `timeout_s`."""
        try:
            return self._inbox.get(timeout=timeout_s) if timeout_s > 0 else self._inbox.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Send what waits and end the thread."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5)
        os.close(self._wake)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(int(PROGRESS_S * 1000)))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if self._socket in ready:
                self._listen()
            if not ready and (message := self._progress()) is not None:
                self._outbox.append(encode(message))
            while self._outbox:
                self._socket.send(self._outbox.popleft())
            if self._closing:
                break
        self._socket.close()

    def _listen(self) -> None:
        try:
            message = decode(self._socket.recv())
        except WireError:
            self.refused += 1  # told with the facts of the worker
            return
        self._arrived(message)  # at once, in this thread: the body may be busy for long
        self._inbox.put(message)
