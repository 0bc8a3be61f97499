"""The control network: its messages, and the line that carries them; small, typed, never on the way of a frame.

master -> agent    Launch, Kill, Bye             agent -> master    Joined, Exited
master -> worker   Connect, Go, Stop, Detach, Cut   worker -> master   Ready, Linked, Progress, Done, Failed
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

import msgspec
import zmq

from camlink.carry.account import Snapshot
from camlink.errors import WireError

MAX_CONTROL_BYTES: Final = 16 << 20
PROGRESS_S: Final = 0.25


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One link as both of its ends must know it."""

    name: str
    source: str
    target: str
    output: str
    input: str
    kind: Literal["memory", "zmq"]
    policy: Literal["block", "latest"]
    limit_bytes: int
    senders: int = 1
    receivers: int = 1
    block: str = "Block"


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker needs to become one replica of one operator."""

    operator: str
    replica: int
    where: str
    kind: str
    parameters: dict[str, Any]
    inputs: tuple[LinkSpec, ...]
    outputs: tuple[LinkSpec, ...]
    folder: str
    sockets: str
    provenance: dict[str, str]


class Message(msgspec.Struct, kw_only=True, tag=True):
    """Base of everything on the control network."""


class Launch(Message):
    """Start this worker."""

    spec: WorkerSpec


class Kill(Message):
    """End this worker now."""

    operator: str
    replica: int


class Bye(Message):
    """The run is over: end what still runs, then yourself."""


class Connect(Message):
    """Connect an incoming link to its senders."""

    link: str
    addresses: tuple[str, ...]


class Go(Message):
    """Every link is ready: start the body."""


class Stop(Message):
    """Come to your end soon, keeping what arrived."""


class Detach(Message):
    """The receivers of this link are gone."""

    link: str
    reason: str


class Cut(Message):
    """A sender of this link is gone."""

    link: str
    address: str


class Joined(Message):
    """An agent is there, with what its machine has."""

    site: str
    pid: int
    cores: int
    memory_bytes: int


class Exited(Message):
    """A worker's process has ended."""

    operator: str
    replica: int
    code: int
    text: str = ""


class FromWorker(Message):
    """Base of what a worker says."""

    operator: str
    replica: int


class Ready(FromWorker):
    """Loaded and bound; `addresses` tells where each outgoing link waits."""

    pid: int
    addresses: dict[str, str]


class Linked(FromWorker):
    """Every receiver of an outgoing link has said hello."""

    link: str


class Progress(FromWorker):
    """What the worker has done so far; also its heartbeat."""

    facts: dict[str, Any]
    sent: dict[str, Snapshot]
    received: dict[str, Snapshot]


class Done(Progress):
    """The body came to its end and every outgoing link was acknowledged."""


class Failed(Progress):
    """The body raised, or the worker could not begin."""

    error: str
    text: str
    place: str
    input: bool = False


AnyMessage = (
    Launch | Kill | Bye | Connect | Go | Stop | Detach | Cut
    | Joined | Exited | Ready | Linked | Progress | Done | Failed
)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The message as msgpack."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> Any:
    """The message in `data`; raises WireError when it is none."""
    if len(data) > MAX_CONTROL_BYTES:
        raise WireError(f"control network: a message of {len(data)} bytes is over the limit of {MAX_CONTROL_BYTES}")
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"control network: not a message: {error}") from None


class Line:
    """A worker's line to its agent: a thread that speaks, listens and sends the heartbeat; the owner never waits."""

    def __init__(self, context: zmq.Context[Any], address: str, identity: str,
                 progress: Callable[[], Message | None]) -> None:
        self.stopping = threading.Event()
        self._progress = progress
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
        message = decode(self._socket.recv())
        if isinstance(message, Stop):
            self.stopping.set()
        self._inbox.put(message)
