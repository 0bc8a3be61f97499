"""Dial: how a far agent reaches its master: outward, with its key, again when the way breaks, and not for ever.

What is said on the way is numbered and said again until it was heard: a way that breaks costs time and no word.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import zmq
from msgspec.structs import replace
from zmq.utils.monitor import recv_monitor_message

from camlink.carry.far.admission import as_client
from camlink.carry.far.crossing import Passage
from camlink.carry.far.gate import CallGate
from camlink.carry.far.keys import Keys, read_private
from camlink.carry.far.ticket import Ticket
from camlink.errors import InputError, PeerLost, WireError
from camlink.runtime.reach.receipts import BEHIND, Receipts

MASTER, AGENT = "master", "agent"
LOST_S: Final = 120.0  # a laptop that sleeps for half a minute is not lost


class Dial:
    """The way to the master at `address`: tcp://host:port, or ticket:FILE for the relay that the ticket names."""

    def __init__(self, address: str, keys: Keys, folder: Path, site: str = "", *, lost_s: float = LOST_S,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if not address.startswith(("tcp://", "ticket:")):
            raise InputError(f"--join {address}: give tcp://HOST:PORT, or ticket:FILE for a relay")
        self._address, self._keys, self._folder, self._site = address, keys, folder, site
        self._lost_s, self._clock = lost_s, clock
        self._stack = ExitStack()
        self._gate: CallGate | None = None
        self._socket: Any = None
        self._events: Any = None
        self._receipts = Receipts(1 + secrets.randbits(63))
        self.over = ""
        self._connected = False
        self._since_s = clock()

    @property
    def address(self) -> str:
        """Where the socket connects."""
        if not self._address.startswith("ticket:"):
            return self._address
        ticket = read_ticket(Path(self._address.removeprefix("ticket:")))
        self._gate = self._stack.enter_context(CallGate(ticket, lane_of(self._site), self._folder / "master"))
        return f"ipc://{self._gate.path}"

    def renew(self, passage: bytes) -> None:
        """Dial the relay with the ticket of this passage from now on."""
        if self._gate is not None:
            self._gate.ticket = replace(Passage.opened(passage).call, address=self._gate.ticket.address)

    def prepare(self, socket: zmq.Socket[Any]) -> None:
        """Give the socket its keys, before it connects."""
        as_client(self._keys, MASTER)(socket)
        self._socket = socket
        self._events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)

    def say(self, payload: bytes, *, news: bool = False) -> None:
        """Say something to the master; of `news`, which newer ones replace, nothing while much was not heard yet."""
        if news and self._receipts.kept >= BEHIND:
            return
        try:
            self._send(self._receipts.say([payload], self._clock()))
        except PeerLost as error:
            self.over = str(error)

    def hear(self) -> Sequence[bytes]:
        """The next words of the master (whom they are for, and what), or nothing."""
        while self._socket.poll(0):
            try:
                words = self._receipts.hear(self._socket.recv_multipart(), self._clock())
            except (PeerLost, WireError) as error:
                self.over = str(error)
                break
            if words is not None:
                return words
        return ()

    def tend(self) -> bool:
        """Say again what was not heard; False when the master is lost: out of reach for so long that nobody waits."""
        while self._events.poll(0):
            connected = recv_monitor_message(self._events)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if connected:
                self._receipts.hurry()
            if connected != self._connected:
                self._connected, self._since_s = connected, self._clock()
        if self._connected:
            for message in self._receipts.due(self._clock()):
                self._send(message)
        return not self.over and (self._connected or self._clock() - self._since_s <= self._lost_s)

    def _send(self, message: list[bytes]) -> None:
        with suppress(zmq.Again):  # the queue of a way that is cut is full; it is said again
            self._socket.send_multipart(message, zmq.NOBLOCK)

    def close(self) -> None:
        """Tell what was heard and stop watching the socket, before it is closed."""
        for message in self._receipts.due(math.inf):
            self._send(message)
        self._socket.disable_monitor()
        self._events.close(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def lane_of(site: str) -> str:
    """The lane of a relay on which the agent of a site meets its master."""
    return f"control {site}"


def pages_of(agent: str) -> str:
    """The lane of a relay that leads to the dashboard of the cluster whose scheduler this agent runs."""
    return f"dask {agent}"


def read_ticket(path: Path) -> Ticket:
    """The ticket in a file of mode 0600; raises InputError."""
    try:
        return msgspec.json.decode(read_private(path), type=Ticket)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InputError(f"{path}: this is no ticket of a relay") from None
