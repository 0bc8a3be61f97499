"""What the state machine of a run hears beside messages, and the instructions that it gives."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from camlink.runtime.messages import LinkSpec, Message, WorkerSpec


class Placed(msgspec.Struct, frozen=True):
    """A worker and where it runs."""

    spec: WorkerSpec
    site: str
    killable: bool = True


class Begin(Message, kw_only=True):
    """The run begins; what it is made of, so that its log explains itself.

    Uses by operator, workers, links, agents with their sites, and those on other machines.
    """

    workflow: str = ""
    uses: dict[str, str] = msgspec.field(default_factory=dict)
    workers: tuple[Placed, ...] = ()
    links: tuple[LinkSpec, ...] = ()
    agents: dict[str, str] = msgspec.field(default_factory=dict)
    queue_s: float = 0.0
    margins: dict[str, float] = msgspec.field(default_factory=dict)
    far: frozenset[str] = frozenset()


class Tick(Message):
    """Time has passed."""


class Order(Message, kw_only=True):
    """Base of what somebody asks of a run while it runs; `who` is the name in the audit, empty for the program itself.

    These records are the arguments of the page's actions and of the client too.
    """

    who: str = ""


class Cancel(Order, kw_only=True):
    """The run is to end: gracefully first, now when `force`."""

    reason: str = "asked by its owner"
    force: bool = False


class AgentLost(Message):
    """An agent's process has ended."""

    site: str
    text: str


class Placing(Message):
    """What there is to say of an agent that was asked for and has not come: its place in a queue, what to do for it."""

    agent: str
    text: str


class Refused(Message):
    """Somebody was turned away at a port of the run: where, the last of them (host:port), why, and how many."""

    where: str
    peer: str
    reason: str
    count: int


class Scale(Order, kw_only=True):
    """A transform is to have this many replicas."""

    operator: str
    replicas: int


class Pause(Order, kw_only=True):
    """Sources that can are to give no more frames for now, or to go on; what they gave is worked on."""

    paused: bool = True


class Adjust(Order, kw_only=True):
    """An operator is to work with other values of these parameters from its next block on."""

    operator: str
    parameters: dict[str, Any]


class Tag(Order, kw_only=True):
    """A word about the scan, kept with its record."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class StartAgent(msgspec.Struct, frozen=True):
    """Instruction: place the agent of this site."""

    site: str


class EndAgent(msgspec.Struct, frozen=True):
    """Instruction: kill the agent of this site, which does not answer."""

    site: str
    text: str


class Send(msgspec.Struct, frozen=True):
    """Instruction: send a message to the agent of a site, or to one of its workers."""

    site: str
    message: Any
    worker: str = ""


class Over(msgspec.Struct, frozen=True):
    """Instruction: everything has ended; close."""


Instruction = StartAgent | EndAgent | Send | Over
