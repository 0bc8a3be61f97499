"""Gates: how the ends of a link get to each other through a relay; both dial outward, and again when it breaks.

The offering gate keeps one connection waiting at the relay and leads each caller to the local outlet. The calling
gate listens at a socket in a folder of its user and leads each connection to the relay. Neither can read the data.
"""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Self

from camlink.carry.far.relay import GO, WAITING
from camlink.carry.far.switchboard import Switchboard, Wait, keep_alive
from camlink.carry.far.ticket import GREETING_BYTES, Ticket
from camlink.errors import InputError, WireError

DIAL_S: Final = 5.0
WAIT_S: Final = 30 * 86_400.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0


class Gate(ABC):
    """One lane of a relay, served in a thread until closed."""

    def __init__(self, ticket: Ticket, lane: str) -> None:
        self.ticket, self._lane = ticket, lane  # who has a newer one, sets it
        self._board = Switchboard()
        self._closing = False
        self.joined = 0
        self.failed = 0
        self.complaint = ""
        self._thread = threading.Thread(target=self._run, name=f"gate {lane}", daemon=True)

    @property
    def moved(self) -> int:
        """Bytes that went through, both ways."""
        return self._board.moved

    def close(self) -> None:
        """Close everything."""
        self._closing = True
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing:
            self._board.turn(0.05)
            self._look()
        self._board.close()

    @abstractmethod
    def _look(self) -> None:
        """What has to be done now and then."""

    @abstractmethod
    def _go(self, far: socket.socket, near: socket.socket | None) -> None:
        """The relay has joined `far` with somebody."""

    @abstractmethod
    def _lost(self, near: socket.socket | None) -> None:
        """The relay, or the way to it, is gone before anybody was joined."""

    def _dial(self, near: socket.socket | None) -> None:
        """Dial the relay and ask for the lane; `near` is who it is for, when that is known."""
        try:
            far = _begin_to_dial(self.ticket.address)
        except (OSError, ValueError) as error:
            self._fail(f"cannot reach the relay at {self.ticket.address}: {error}", near)
            return

        def heard(data: bytes) -> None:
            try:
                self._hear(wait, data, near)
            except (WireError, OSError) as error:
                self._board.drop(wait)
                self.complaint = str(error)

        wait = Wait(far, GREETING_BYTES, time.monotonic() + DIAL_S, heard,
                    lambda: self._fail(f"the relay at {self.ticket.address} does not answer or has refused us: is the "
                                       "ticket of this relay, and its time not over?", near))
        self._board.wait(wait)

    def _hear(self, wait: Wait, data: bytes, near: socket.socket | None) -> None:
        if wait.wanted == GREETING_BYTES:
            wait.socket.send(self.ticket.answer(data, self._lane))
            wait.wanted = 1
        elif data == WAITING:
            wait.until_s = time.monotonic() + WAIT_S
            self.complaint = ""
        elif data == GO:
            self._board.forget(wait)
            self.joined += 1
            self.complaint = ""
            self._go(wait.socket, near)
        else:
            raise WireError(f"the relay at {self.ticket.address} said {data!r}; is it another version?")

    def _fail(self, complaint: str, near: socket.socket | None) -> None:
        self.failed += 1
        self.complaint = complaint
        self._lost(near)


class OfferGate(Gate):
    """Leads callers of the lane to `target`: host:port or the path of a unix socket."""

    def __init__(self, ticket: Ticket, lane: str, target: str) -> None:
        super().__init__(ticket, lane)
        self._target = target
        self._waiting = False
        self._next_s, self._pause_s = 0.0, FIRST_PAUSE_S
        self._thread.start()

    def _look(self) -> None:
        if not self._waiting and time.monotonic() >= self._next_s:
            self._waiting = True
            self._dial(None)

    def _go(self, far: socket.socket, near: socket.socket | None) -> None:
        self._waiting, self._pause_s, self._next_s = False, FIRST_PAUSE_S, 0.0
        try:
            self._board.join(far, _reach(self._target))
        except OSError as error:
            far.close()
            self.complaint = f"nobody is at {self._target}: {error}"

    def _lost(self, near: socket.socket | None) -> None:
        self._waiting = False
        self._next_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class CallGate(Gate):
    """Listens at `path`, a new unix socket, and leads each connection to the lane; who is lost dials again."""

    def __init__(self, ticket: Ticket, lane: str, path: Path) -> None:
        super().__init__(ticket, lane)
        self.path = path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
        except OSError as error:
            listener.close()
            self._board.close()
            raise InputError(f"gate of {lane}: cannot listen at {path}: {error}; set XDG_RUNTIME_DIR to a shorter "
                             "folder of yours") from None
        path.chmod(0o600)
        listener.listen(16)
        self._board.listen(listener, self._dial)
        self._thread.start()

    def close(self) -> None:
        """Close everything and remove the socket."""
        super().close()
        self.path.unlink(missing_ok=True)

    def _look(self) -> None:
        """Everything begins with a connection."""

    def _go(self, far: socket.socket, near: socket.socket | None) -> None:
        assert near is not None
        self._board.join(near, far)

    def _lost(self, near: socket.socket | None) -> None:
        assert near is not None
        near.close()


def _begin_to_dial(address: str) -> socket.socket:
    """A connection on its way: it becomes readable with the greeting of the relay, or with the failure."""
    host, _, port = address.rpartition(":")
    family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    far = socket.socket(family, kind)
    far.setblocking(False)
    far.connect_ex(where)
    keep_alive(far)
    return far


def _reach(target: str) -> socket.socket:
    if target.startswith("/"):
        near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        near.settimeout(DIAL_S)
        try:
            near.connect(target)
        except OSError:
            near.close()
            raise
        return near
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DIAL_S)
