"""The messages of the control network: small, typed, never on the way of a frame.

master -> agent    Launch, Kill, Bye                agent -> master    Joined, Exited
master -> worker   Connect, Go, Stop, Detach, Cut   worker -> master   Ready, Linked, Progress, Done, Failed
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from camlink.carry.account import Snapshot
from camlink.errors import WireError

MAX_CONTROL_BYTES: Final = 16 << 20


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One link as both of its ends must know it."""

    name: str
    source: str
    target: str
    output: str
    input: str
    kind: Literal["memory", "shm", "zmq"]
    policy: str
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
    site: str = ""


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
