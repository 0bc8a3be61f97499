"""Admission: who may talk to the sockets of a process; CURVE alone encrypts, this alone admits (ZAP, RFC 27).

A socket with a domain and without an admission refuses everybody: there is no way to forget it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.utils import z85

from camlink.carry.far.door import Door
from camlink.carry.far.keys import Keys
from camlink.clock import now_s
from camlink.errors import InputError

_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_PARTS: Final = 7
BEAT_MS: Final = 2000
BEAT_LIMIT_MS: Final = 6000
HANDSHAKE_MS: Final = 5000


class Admission:
    """Answers, in a thread, each key that knocks at a socket of `context`; one a context, closed before it."""

    def __init__(self, context: zmq.Context[Any], clock: Callable[[], float] = now_s) -> None:
        self._clock = clock
        self._admitted: dict[tuple[str, bytes], float] = {}
        self.refused = 0
        self._socket = context.socket(zmq.REP)
        try:
            self._socket.bind(_ENDPOINT)
        except zmq.ZMQError:
            self._socket.close()
            raise InputError("this ZeroMQ context has an admission already; share it") from None
        self._asked: deque[tuple[Door, bool, threading.Event]] = deque()
        self._closing, self._wake = False, os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self._thread.start()

    def admit(self, domain: str, keys: Keys, role: str) -> None:
        """Let the pinned key of `role` in at sockets of `domain`, as long as the keys of the run live."""
        self._admitted[domain, keys.pin(role)] = keys.until_s

    def renew(self, keys: Keys, role: str) -> None:
        """Let the pinned key of `role` in until the end of these keys, wherever it is let in."""
        for domain, key in list(self._admitted):
            if key == keys.pin(role):
                self._admitted[domain, key] = keys.until_s

    def watch(self, served: zmq.Socket[Any]) -> Door:
        """Note from now on who is turned away at a socket that is not bound yet; `leave` it before it is closed."""
        door = Door(served)
        self._ask(door, True)
        return door

    def leave(self, door: Door) -> None:
        """Note nothing any more of the socket of a door; what was noted stays."""
        self._ask(door, False)
        door.close()

    def _ask(self, door: Door, watched: bool) -> None:
        done = threading.Event()
        self._asked.append((door, watched, done))
        os.eventfd_write(self._wake, 1)
        while self._thread.is_alive() and not done.wait(0.1):
            pass

    def close(self) -> None:
        """End the thread; from now on everybody is refused."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._wake)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        doors: dict[Any, Door] = {}
        while not self._closing:
            for ready, _ in poller.poll():
                if ready is self._socket:
                    self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
                elif ready in doors:  # at once: it tells of connections by numbers that are soon of others
                    doors[ready].look()
                else:
                    os.eventfd_read(self._wake)
            while self._asked:
                door, watched, done = self._asked.popleft()
                if watched:
                    doors[door.events] = door
                    poller.register(door.events, zmq.POLLIN)
                else:
                    del doors[door.events]
                    poller.unregister(door.events)
                    door.look()
                done.set()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        number = request[1] if len(request) > 1 else b""
        if len(request) == _PARTS and request[0] == _VERSION and request[5] == b"CURVE":
            domain, key = request[2].decode("utf8", "replace"), z85.encode(request[6])
            until_s = self._admitted.get((domain, key))
            if until_s is not None and self._clock() < until_s:
                return [_VERSION, number, b"200", b"OK", domain.encode(), b""]
        self.refused += 1
        return [_VERSION, number, b"400", b"this key is not known here", b"", b""]


def as_server(keys: Keys, domain: str) -> Callable[[zmq.Socket[Any]], None]:
    """What makes a socket, before it is bound, serve only those that an Admission lets into `domain`."""

    def prepare(socket: zmq.Socket[Any]) -> None:
        _watch(socket)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode("ascii"))
        socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    return prepare


def as_client(keys: Keys, role: str) -> Callable[[zmq.Socket[Any]], None]:
    """What makes a socket, before it is connected, talk only to the pinned key of `role`."""

    def prepare(socket: zmq.Socket[Any]) -> None:
        _watch(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.pin(role))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode("ascii"))
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode("ascii"))

    return prepare


def _watch(socket: zmq.Socket[Any]) -> None:
    """A path that goes silent without a word is found and dialled again."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, BEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, BEAT_LIMIT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
