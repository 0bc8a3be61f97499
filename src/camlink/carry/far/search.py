"""Search: the ways that may lead to an outlet on another machine are tried at once, and the best is found.

A way is tried by making the encrypted connection of the link itself: what does not get through to the pinned key does
not count. Then it is measured with a few small questions and a few larger answers. An outlet that is too busy to answer
does not hold up anybody: its ways are ranked by how long the connection took.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from camlink.carry.far.path import Tried, Way

PROBE: Final = b"?"
QUESTION: Final = struct.Struct("<cI")
MOST_ANSWER_BYTES: Final = 1 << 20
ANSWER_BYTES: Final = 1 << 18
_SEAL_BYTES: Final = 256  # by so much CURVE makes a message longer, at most
PINGS: Final = 3
MEASURES: Final = 3
TRY_S: Final = 5.0
OTHERS_S: Final = 0.25
OTHERS_TIMES: Final = 4
ANSWER_S: Final = 1.0
PAUSE_S: Final = 0.5
Reach = Callable[["zmq.Socket[Any]", Way], None]  # what makes a socket go a way: gives it keys, connects or binds it


class _Trial:
    """One way while it is tried."""

    def __init__(self, context: zmq.Context[Any], way: Way, reach: Reach, invitation: bytes) -> None:
        self.way, self._invitation = way, invitation
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MOST_ANSWER_BYTES + _SEAL_BYTES)
        self.events = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.begun_s = time.monotonic()
        try:
            reach(self.socket, way)
        except (zmq.ZMQError, OSError):
            self.close()
            raise
        self.handshake_s = self.asked_s = 0.0
        self.times_s: list[float] = []
        self.bytes_per_s = 0.0
        self.measures = self._nbytes = 0

    @property
    def answered(self) -> bool:
        return len(self.times_s) >= PINGS

    @property
    def measured(self) -> bool:
        return self.measures >= MEASURES

    def shaken(self) -> None:
        recv_monitor_message(self.events)
        if not self.handshake_s:
            self.handshake_s = time.monotonic() - self.begun_s
            if self._invitation and not self.way.inward:
                self.socket.send(self._invitation)
            self.ask(1)

    def ask(self, nbytes: int) -> None:
        self.asked_s = time.monotonic()
        with suppress(zmq.Again):  # who has dialled us is gone again; nobody else answers
            self.socket.send(QUESTION.pack(PROBE, nbytes), zmq.NOBLOCK)

    def hear(self) -> None:
        """An answer: small ones give the round trip, large ones the rate; larger ones where it hides in the trip."""
        nbytes, took_s = len(self.socket.recv()), time.monotonic() - self.asked_s
        if nbytes > 1:
            self.measures += 1
            empty_s = min(self.times_s)
            if nbytes > self._nbytes:
                self._nbytes, self.bytes_per_s = nbytes, 0.0
            self.bytes_per_s = max(self.bytes_per_s, rate_of(nbytes, took_s, empty_s))
            if not self.measured:
                self.ask(MOST_ANSWER_BYTES if took_s < 2 * empty_s else nbytes)
        else:
            self.times_s.append(took_s)
            if not self.answered:
                self.ask(1)

    def outcome(self) -> Tried:
        return Tried(self.way, self.handshake_s, min(self.times_s, default=0.0), self.bytes_per_s)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.events.close(linger=0)
        self.socket.close()


def rate_of(nbytes: int, took_s: float, empty_s: float) -> float:
    """Bytes a second of an answer, from its time and that of one of a byte.

    At most four times what it took all in all: the difference of two times that are nearly the same is noise.
    """
    return nbytes / max(took_s - empty_s, took_s / 4, 1e-6)


def probe(context: zmq.Context[Any], ways: Sequence[Way], reach: Reach, closing: threading.Event,
          invitation: bytes = b"") -> list[Tried]:
    """Try all ways at once for TRY_S at most; when one has done, the others get a few times its time; best first.

    The `invitation` to dial the inward ways goes along those others that work. Ways are measured one after the other,
    so that they do not share a wire while they are. A way that is no address is one of those that do not answer.
    """
    trials: list[_Trial] = []
    for way in ways:
        with suppress(zmq.ZMQError, OSError):
            trials.append(_Trial(context, way, reach, invitation))
    none = [Tried(way) for way in ways if all(trial.way != way for trial in trials)]
    poller = zmq.Poller()
    for trial in trials:
        poller.register(trial.socket, zmq.POLLIN)
        poller.register(trial.events, zmq.POLLIN)
    begun_s = time.monotonic()
    until_s, measuring = begun_s + TRY_S, None
    try:
        while not closing.is_set() and time.monotonic() < until_s and not all(t.measured for t in trials):
            ready = dict(poller.poll(50))
            for trial in trials:
                if trial.events in ready:
                    trial.shaken()
                    until_s = min(until_s, time.monotonic() + ANSWER_S)
                if trial.socket in ready:
                    trial.hear()
            if measuring is not None and measuring.measured:
                took_s = time.monotonic() - begun_s
                until_s, measuring = min(until_s, begun_s + max(OTHERS_S, OTHERS_TIMES * took_s)), None
            if measuring is None:
                measuring = next((t for t in trials if t.answered and not t.measured), None)
                if measuring is not None:
                    measuring.ask(ANSWER_BYTES)
        outcomes = [*(trial.outcome() for trial in trials), *none]
        return sorted(outcomes, key=lambda tried: (not tried.handshake_s, tried.cost))
    finally:
        for trial in trials:
            trial.close()


class Search:
    """Looks for a way in a thread, again and again until one works; `found` is what became of all, best first."""

    def __init__(self, context: zmq.Context[Any], ways: Sequence[Way], reach: Reach, invitation: bytes = b"") -> None:
        self._context, self._ways, self._reach, self._invitation = context, tuple(ways), reach, invitation
        self._closing = threading.Event()
        self.found: list[Tried] = []
        self._thread = threading.Thread(target=self._run, name="paths", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(zmq.ContextTerminated):
            while not self._closing.is_set():
                tried = probe(self._context, self._ways, self._reach, self._closing, self._invitation)
                if tried and tried[0].handshake_s:
                    self.found = tried
                    return
                self._closing.wait(PAUSE_S)

    def close(self) -> None:
        """Look no longer."""
        self._closing.set()
        self._thread.join()
