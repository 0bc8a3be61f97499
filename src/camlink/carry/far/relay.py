"""Relay: one open port where two sides that may only dial outward meet; it joins them and never sees their data.

Each side dials, proves its ticket, and offers a lane or calls one. An offer waits until a call for its lane comes;
then both get one byte and are spliced. What goes through is encrypted from end to end by keys that the relay lacks.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from camlink.carry.far.door import Refusals, peer_of
from camlink.carry.far.switchboard import Switchboard, Wait
from camlink.carry.far.ticket import ASKING_BYTES, MAGIC, Asked, RelayKey, greeting
from camlink.carry.files import allow_files
from camlink.errors import AddressInUse, InputError, WireError

WAITING, GO = b"+", b"G"
ASK_S: Final = 5.0
CALL_S: Final = 15.0
OFFER_S: Final = 7 * 86_400.0
MOST_STRANGERS: Final = 128
MOST_A_LANE: Final = 16
MOST_LANES: Final = 1024
MOST_SPLICES: Final = 256
MOST_FILES: Final = 8192


class Relay:
    """The relay; `turn` is one round of its loop, `run` serves until `close`."""

    def __init__(self, key: RelayKey, host: str = "127.0.0.1", port: int = 0) -> None:
        self._key = key
        self._board = Switchboard()
        self._strangers: deque[Wait] = deque()
        self._offers: dict[bytes, deque[Wait]] = {}
        self._calls: dict[bytes, deque[Wait]] = {}
        self.refusals = Refusals()
        self.joined = 0
        allow_files(MOST_FILES)
        self._listener = _listen(host, port)
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._board.listen(self._listener, self._greet)
        self._closing = False

    @property
    def facts(self) -> dict[str, int]:
        """Pairs joined now and ever, bytes moved, connections refused."""
        return {"splices": self._board.splices, "joined": self.joined, "moved_bytes": self._board.moved,
                "refused": self.refusals.total}

    def run(self, heed: Callable[[], None] = lambda: None) -> None:
        """Serve until `close` is called from another thread or a signal; `heed` is called again and again."""
        while not self._closing:
            self._board.turn(0.2)
            heed()
        self._board.close()

    def turn(self, timeout_s: float) -> None:
        """One round."""
        self._board.turn(timeout_s)

    def close(self) -> None:
        """Ask for the end."""
        self._closing = True

    def _greet(self, dialled: socket.socket) -> None:
        nonce = greeting()
        peer = peer_of(dialled)
        wait = Wait(dialled, ASKING_BYTES, time.monotonic() + ASK_S,
                    lambda asking: self._ask(wait, nonce, asking, peer), lambda: self._silent(wait, peer))
        try:
            dialled.send(nonce)
        except OSError:
            dialled.close()
            return
        self._board.wait(wait)
        self._strangers.append(wait)
        if len(self._strangers) > MOST_STRANGERS:
            self._board.drop(self._strangers[0])

    def _silent(self, wait: Wait, peer: str) -> None:
        self._strangers.remove(wait)
        self.refusals.add(peer, "said nothing that is a ticket")

    def _ask(self, wait: Wait, nonce: bytes, asking: bytes, peer: str) -> None:
        self._strangers.remove(wait)
        self._board.forget(wait)
        try:
            self._take(wait.socket, self._key.check(nonce[len(MAGIC):], asking))
        except WireError as error:
            self.refusals.add(peer, str(error))
            wait.socket.close()
        except OSError:
            wait.socket.close()  # it went away while we answered

    def _take(self, dialled: socket.socket, asked: Asked) -> None:
        mine, others = (self._offers, self._calls) if asked.offers else (self._calls, self._offers)
        partner = self._partner(others, asked.lane)
        if partner is not None:
            self._join(dialled, partner)
            return
        if len(mine) >= MOST_LANES or len(mine.get(asked.lane, ())) >= MOST_A_LANE:
            raise WireError("too many wait already")
        dialled.send(WAITING)
        queue = mine.setdefault(asked.lane, deque())
        until_s = time.monotonic() + (OFFER_S if asked.offers else CALL_S)
        wait = Wait(dialled, 1, until_s, lambda _: self._spoke(wait), lambda: self._left(mine, asked.lane, wait))
        queue.append(wait)
        self._board.wait(wait)

    def _partner(self, waiting: dict[bytes, deque[Wait]], lane: bytes) -> socket.socket | None:
        """The one that waits longest for this lane."""
        queue = waiting.get(lane)
        if not queue:
            return None
        if self._board.splices >= MOST_SPLICES:
            raise WireError("too many are joined already")
        wait = queue.popleft()
        if not queue:
            del waiting[lane]
        self._board.forget(wait)
        return wait.socket

    def _join(self, a: socket.socket, b: socket.socket) -> None:
        try:
            a.send(GO)
            b.send(GO)
        except OSError:
            a.close()
            b.close()
            return  # both dial again
        self.joined += 1
        self._board.join(a, b)

    def _spoke(self, wait: Wait) -> None:
        """Who waits has nothing to say: what it sent belongs to nobody."""
        self.refusals.add(peer_of(wait.socket), "spoke before it was joined")
        self._board.drop(wait)

    def _left(self, waiting: dict[bytes, deque[Wait]], lane: bytes, wait: Wait) -> None:
        queue = waiting.get(lane)
        if queue and wait in queue:
            queue.remove(wait)
            if not queue:
                del waiting[lane]

def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        kind = AddressInUse if error.errno == errno.EADDRINUSE else InputError
        raise kind(f"relay: cannot listen at {host} port {port}: {error.strerror or error}; choose another") from None
