"""Door: who was turned away at a port: by host and reason, in few lines however many knock; read from its socket."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from camlink.carry.zmq import waits

EVERY_S: Final = 5.0
MOST_HOSTS: Final = 16
OTHERS, VARIOUS = "other hosts", "various reasons"
GONE: Final = "somebody who was gone at once"
NEAR: Final = "this machine, or the relay"
_REASONS: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "its key is not known here, or its time is over",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it took us for another, or speaks without a key",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it broke off, or was silent"}
_NOISE: Final = "what it said is not of this protocol"


class Refusal(msgspec.Struct, frozen=True):
    """So many connections of a host that were turned away for a reason; `peer` is the last of them, host:port."""

    peer: str
    reason: str
    count: int

    @property
    def host(self) -> str:
        """The host of the last of them."""
        return _host_of(self.peer)


class Refusals:
    """Who was turned away since it was told last; added by one thread, told by another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self.new: dict[tuple[str, str], Refusal] = {}
        self._told_s = clock() - EVERY_S
        self.total = 0

    def add(self, peer: str, reason: str) -> None:
        """One more."""
        with self._lock:
            self.total += 1
            host = _host_of(peer)
            if (host, reason) not in self.new and len(self.new) >= MOST_HOSTS:
                host = peer = OTHERS
                reason = reason if len(self.new) < 2 * MOST_HOSTS or (host, reason) in self.new else VARIOUS
            before = self.new.get((host, reason))
            self.new[host, reason] = Refusal(peer, reason, before.count + 1 if before else 1)

    def news(self, *, last: bool = False) -> list[Refusal]:
        """Those that were not told yet, not more often than every EVERY_S; the `last` time all."""
        with self._lock:
            if not self.new or (self._clock() - self._told_s < EVERY_S and not last):
                return []
            self._told_s = self._clock()
            told, self.new = list(self.new.values()), {}
        return told


class Door:
    """What a socket that serves with CURVE tells of those who dial it; made before the socket is bound."""

    def __init__(self, served: zmq.Socket[Any]) -> None:
        self._served = served
        self.events = served.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        self.refusals = Refusals()
        self._dialled: dict[int, tuple[str, bool]] = {}
        self._reason = ""

    def look(self) -> list[bool]:
        """Take in what happened since; for one thread. True for who came in, False for who went that was, or may be."""
        moves = []
        while waits(self.events):
            told = recv_monitor_message(self.events)
            kind, value = told["event"], told["value"]
            if kind == zmq.EVENT_ACCEPTED:
                self._dialled[value] = _peer(value), False
            elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:  # which of them, it does not say
                self._dialled = {number: (peer, True) for number, (peer, _) in self._dialled.items()}
                moves.append(True)
            elif kind == zmq.EVENT_DISCONNECTED:
                peer, maybe_inside = self._dialled.pop(value, ("", True))
                if peer and (self._reason or not maybe_inside):
                    self.refusals.add(peer, self._reason or _NOISE)
                else:  # nobody whom we have dialled is turned away
                    moves.append(False)
                self._reason = ""
            else:  # the next event tells whose
                self._reason = _REASONS[kind]
        return moves

    def close(self) -> None:
        """Look no more; before the socket is closed."""
        self._served.disable_monitor()
        self.events.close(linger=0)


def _host_of(peer: str) -> str:
    return peer.rpartition(":")[0] or peer


def _peer(number: int) -> str:
    """Who is at the other end of a connection that another thread may have closed already."""
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            return peer_of(copy)
    except OSError:
        return GONE


def peer_of(dialled: socket.socket) -> str:
    """The address of who is at the other end, host:port."""
    try:
        where = dialled.getpeername()
    except OSError:
        return GONE
    return f"{where[0]}:{where[1]}" if isinstance(where, tuple) else NEAR
