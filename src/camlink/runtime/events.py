"""What the state machine of a run hears beside messages, and the instructions that it gives."""

from __future__ import annotations

from typing import Any

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


class Cancel(Message):
    """Somebody wants the run to end: gracefully first, now when `force`."""

    reason: str
    force: bool = False


class AgentLost(Message):
    """An agent's process has ended."""

    site: str
    text: str


class Scale(Message):
    """Somebody wants a transform to have this many replicas."""

    operator: str
    replicas: int


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
