"""Agent: the remote event loop on a site; starts workers as the master says and passes on what they say."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import zmq

from camlink.errors import PeerLost, WireError
from camlink.runtime.cluster.side import ClusterSide
from camlink.runtime.messages import (
    MAX_CONTROL_BYTES,
    Beat,
    Bye,
    Done,
    Exited,
    Failed,
    Inventory,
    JoinCluster,
    Joined,
    Kill,
    Launch,
    Luggage,
    Message,
    Progress,
    Renew,
    Save,
    StartScheduler,
    WorkerSpec,
    decode,
    encode,
)
from camlink.runtime.reach.dial import Dial
from camlink.runtime.reach.luggage import unpack

POLL_MS: Final = 100
SOON_MS: Final = 10
BEAT_S: Final = 0.5
LAST_WORDS_S: Final = 0.5
KILLED_S: Final = 0.02  # who is killed says nothing more
SAVE_S: Final = 5.0  # for what links keep, once the master is gone


class Workers(Protocol):
    """How an agent gets its workers: as processes, or as threads."""

    @property
    def alarm(self) -> int:
        """A file descriptor that is readable when one may have ended; negative where there is none."""
        ...

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker, which dials the agent's address."""
        ...

    @property
    def running(self) -> tuple[str, ...]:
        """Those that have not ended, by name on the control network."""
        ...

    def kill(self, line: str) -> None:
        """End the worker of this name on the control network now."""
        ...

    def stopped(self) -> tuple[str, ...]:
        """Those that somebody has stopped, by name on the control network."""
        ...

    def reap(self) -> list[Exited]:
        """Those that ended since the last call."""
        ...

    def end_all(self) -> None:
        """End all that still run, in bounded time."""
        ...


class Agent:
    """The event loop of one site."""

    def __init__(self, site: str, context: zmq.Context[Any], master: str, address: str, workers: Workers,
                 has: Inventory, dial: Dial | None = None, cluster: ClusterSide | None = None,
                 master_end: int = -1, orphaned: Callable[[], bool] = lambda: False,
                 luggage: Path | None = None) -> None:
        self._site, self._workers, self._dial, self._has = site, workers, dial, has
        self._master_end, self._orphaned = master_end, orphaned
        self._cluster, self._luggage = cluster, luggage
        self._last_words: set[str] = set()
        self._beat_s = 0.0
        self.bye: Bye | None = None
        self._ended: list[tuple[Exited, float]] = []
        self._unsaid: deque[bytes] = deque()
        self._up = context.socket(zmq.DEALER)
        self._up.setsockopt(zmq.IDENTITY, site.encode())
        self._down = context.socket(zmq.ROUTER)
        for socket in (self._up, self._down):
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_CONTROL_BYTES)
            socket.setsockopt(zmq.LINGER, 2000)
        if dial is not None:
            dial.prepare(self._up)
        self._up.connect(master)
        self._down.bind(address)

    def run(self) -> None:
        """Join the master and serve until it says Bye or is gone: its process where we see that, or the line to it."""
        self._tell(Joined(site=self._site, pid=os.getpid(), has=self._has))
        poller = zmq.Poller()
        poller.register(self._up, zmq.POLLIN)
        poller.register(self._down, zmq.POLLIN)
        for file in (self._workers.alarm, self._master_end):
            if file >= 0:
                poller.register(file, zmq.POLLIN)
        serving = True
        while serving and not self._is_alone():
            ready = dict(poller.poll(SOON_MS if self._ended else POLL_MS))
            if self._master_end in ready:
                break
            while self._down in ready and (parts := _receive(self._down)):
                self._pass_on(parts[-1])
            while serving and self._up in ready and (parts := self._hear()):
                serving = self._serve(*parts)
            self._ended += [(ending, time.monotonic()) for ending in self._workers.reap()]
            self._tell_endings()
            if self._cluster is not None and (up := self._cluster.look()) is not None:
                self._tell(up)
            if time.monotonic() - self._beat_s > BEAT_S:
                self._beat_s = time.monotonic()
                self._tell(Beat(site=self._site, stopped=self._workers.stopped()), news=True)
        if serving:
            self._save()
        self._workers.end_all()
        if self._cluster is not None:
            self._cluster.close()
        if self._dial is not None:
            self._dial.close()
        self._up.close()
        self._down.close()

    def _is_alone(self) -> bool:
        return self._orphaned() or (self._dial is not None and not self._dial.tend())

    def _save(self) -> None:
        """Let the workers put on the disk what their links keep; who has not ended in time is killed."""
        self._up.setsockopt(zmq.LINGER, 0)  # nobody hears it
        said, until_s = encode(Save()), time.monotonic() + SAVE_S
        while self._workers.running and time.monotonic() < until_s:
            for line in self._workers.running:  # again and again: one that has just started is not there yet
                self._down.send_multipart([line.encode(), said])
            self._down.poll(POLL_MS)
            while _receive(self._down):
                pass
            self._workers.reap()
        for line in self._workers.running:
            self._workers.kill(line)

    def _serve(self, worker: bytes, payload: bytes) -> bool:
        """Do or pass on one message of the master; False on Bye."""
        if worker:
            self._down.send_multipart([worker, payload])
            return True
        try:
            message = decode(payload)
        except WireError as error:
            raise PeerLost(f"agent {self._site}: the master sent what is no message ({error}); is it another camlink?"
                           ) from None
        if isinstance(message, Luggage) and self._luggage is not None:
            unpack(message, self._luggage)
        elif isinstance(message, Launch):
            self._workers.start(message.spec)
        elif isinstance(message, Kill):
            self._workers.kill(message.line)
        elif isinstance(message, StartScheduler | JoinCluster) and self._cluster is not None:
            self._cluster.obey(message)
        elif isinstance(message, Renew):
            for line in self._workers.running:
                self._down.send_multipart([line.encode(), payload])
            if self._dial is not None:
                self._dial.renew(message.passage)
        elif isinstance(message, Bye):
            self.bye = message
        return self.bye is None

    def _pass_on(self, payload: bytes) -> None:
        """Pass a worker's message to the master; what is none stops here."""
        try:
            message = decode(payload)
        except WireError:
            return  # the master misses the worker's heartbeat, and says so
        if isinstance(message, Done | Failed):
            self._last_words.add(message.line)
        self._say(payload, news=type(message) is Progress)

    def _tell_endings(self) -> None:
        """Tell that a worker has ended after its last words, which may still be on their way."""
        for ending, since in self._ended[:]:
            spoke = ending.line in self._last_words
            if spoke or time.monotonic() - since > (LAST_WORDS_S if ending.code >= 0 else KILLED_S):
                self._ended.remove((ending, since))
                self._tell(ending)

    def _tell(self, message: Message, *, news: bool = False) -> None:
        self._say(encode(message), news=news)

    def _say(self, payload: bytes, *, news: bool = False) -> None:
        """To the master: beside us, or by the line to another machine."""
        if self._dial is not None:
            self._dial.say(payload, news=news)
            return
        if not (news and self._unsaid):  # newer ones replace it
            self._unsaid.append(payload)
        with suppress(zmq.Again):  # the master is stopped: what else is there for us goes on, as its end would
            while self._unsaid:
                self._up.send(self._unsaid[0], zmq.NOBLOCK)
                self._unsaid.popleft()

    def _hear(self) -> Sequence[bytes]:
        """The next words of the master, or nothing."""
        return _receive(self._up) if self._dial is None else self._dial.hear()


def _receive(socket: zmq.Socket[bytes]) -> Sequence[bytes]:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return []
