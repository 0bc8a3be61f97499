"""The state machine of a run: `handle(event, at) -> instructions`; no I/O, no clock, replayable from its log of events.

Life of a run:  resources -> services -> network -> graph -> closing -> over
Life of a worker:  waiting -> starting -> ready -> running -> ended | failed
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from camlink.carry.account import Snapshot
from camlink.runtime.messages import (
    Bye,
    Connect,
    Cut,
    Detach,
    Done,
    Exited,
    Failed,
    FromWorker,
    Go,
    Joined,
    Kill,
    Launch,
    Linked,
    LinkSpec,
    Message,
    Progress,
    Ready,
    Stop,
    WorkerSpec,
)
from camlink.runtime.status import OperatorState

Phase = Literal["resources", "services", "network", "graph", "closing", "over"]
PATIENCE_S: Final = {"resources": 30.0, "services": 180.0, "network": 60.0, "closing": 8.0}
GRACE_S: Final = 10.0
SILENCE_S: Final = 20.0


class Begin(Message):
    """The run begins."""


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


class StartAgent(msgspec.Struct, frozen=True):
    """Instruction: place the agent of this site."""

    site: str


class Send(msgspec.Struct, frozen=True):
    """Instruction: send a message to the agent of a site, or to one of its workers."""

    site: str
    message: Any
    worker: str = ""


class Over(msgspec.Struct, frozen=True):
    """Instruction: everything has ended; close."""


Instruction = StartAgent | Send | Over


@dataclass
class WorkerState:
    """What is known of one worker."""

    spec: WorkerSpec
    site: str
    state: OperatorState = "waiting"
    text: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    sent: dict[str, Snapshot] = field(default_factory=dict)
    received: dict[str, Snapshot] = field(default_factory=dict)
    heard_s: float = 0.0
    failure: Failed | None = None

    @property
    def identity(self) -> str:
        """Its name on the control network."""
        return f"{self.spec.operator}/{self.spec.replica}"

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ("ended", "failed")


@dataclass
class RunState:
    """Everything the master knows; changed by `handle` alone."""

    workers: dict[tuple[str, int], WorkerState]
    links: dict[str, LinkSpec]
    phase: Phase = "resources"
    joined: dict[str, Joined] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    begun_s: float = 0.0
    phase_s: float = 0.0
    graph_s: float = 0.0
    over_s: float = 0.0
    stopped: str = ""
    kill_at_s: float = 0.0
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broke: str = ""
    refused: int = 0

    def handle(self, event: Message, at: float) -> list[Instruction]:
        """What has to be done because of `event` at time `at` [s]."""
        return list(self._react(event, at))

    def _react(self, event: Message, at: float) -> Iterator[Instruction]:
        if isinstance(event, FromWorker | Exited) and (event.operator, event.replica) not in self.workers:
            self.refused += 1  # a stray message; nothing of this run is called so
        elif isinstance(event, FromWorker):
            yield from self._worker(event, at)
        elif isinstance(event, Begin):
            self.sites = tuple(dict.fromkeys(w.site for w in self.workers.values()))
            self.begun_s = self.phase_s = at
            yield from (StartAgent(site) for site in self.sites)
        elif isinstance(event, Joined):
            self.joined[event.site] = event
        elif isinstance(event, Exited):
            yield from self._exited(event)
        elif isinstance(event, AgentLost):
            yield from self._agent_lost(event)
        elif isinstance(event, Cancel):
            yield from self._cancel(event, at)
        yield from self._advance(at)
        yield from self._watch(at)

    def _worker(self, event: FromWorker, at: float) -> Iterator[Instruction]:
        worker = self.workers[event.operator, event.replica]
        worker.heard_s = at
        if isinstance(event, Progress):
            worker.facts, worker.sent, worker.received = event.facts, event.sent, event.received
        if worker.over:
            return
        if isinstance(event, Ready):
            worker.state, worker.addresses = "ready", event.addresses
        elif isinstance(event, Linked):
            worker.linked.add(event.link)
        elif isinstance(event, Done):
            worker.state = "ended"
            yield from self._ended(worker, f"{worker.spec.operator} ended early")
        elif isinstance(event, Failed):
            worker.failure = event
            yield from self._fail(worker, event.text)

    def _exited(self, event: Exited) -> Iterator[Instruction]:
        worker = self.workers[event.operator, event.replica]
        if not worker.over:
            yield from self._fail(worker, event.text or f"its process ended by itself with code {event.code}")

    def _agent_lost(self, event: AgentLost) -> Iterator[Instruction]:
        self.joined.pop(event.site, None)
        if self.phase != "closing":
            for worker in self.workers.values():
                if worker.site == event.site and not worker.over:
                    yield from self._fail(worker, event.text)
            if self.phase == "resources":
                self.broke = event.text

    def _fail(self, worker: WorkerState, text: str) -> Iterator[Instruction]:
        worker.state, worker.text = "failed", text
        yield from self._ended(worker, f"{worker.spec.operator} failed")
        if self.phase in ("services", "network"):
            self.broke = f"{worker.spec.operator}: {text}"

    def _ended(self, worker: WorkerState, reason: str) -> Iterator[Instruction]:
        """Tell the neighbours of a worker that is gone."""
        replicas = [w for w in self.workers.values() if w.spec.operator == worker.spec.operator]
        if all(w.over for w in replicas):
            for link in worker.spec.inputs:
                for sender in self._at(link.source):
                    if not sender.over:
                        yield self._to(sender, Detach(link=link.name, reason=reason))
        if worker.state == "failed":
            for link in worker.spec.outputs:
                address = worker.addresses.get(link.name, "")
                for receiver in self._at(link.target):
                    if not receiver.over:
                        yield self._to(receiver, Cut(link=link.name, address=address))

    def _cancel(self, event: Cancel, at: float) -> Iterator[Instruction]:
        if not self.stopped:
            self.stopped = event.reason
            for worker in self.workers.values():
                if not worker.over:
                    yield self._to(worker, Stop())
            self.kill_at_s = at + GRACE_S
            if self.phase in ("resources", "services", "network"):
                self.broke = event.reason
        if event.force:
            self.kill_at_s = at

    def _advance(self, at: float) -> Iterator[Instruction]:
        """Go on to the next phase when this one has all that it waits for."""
        workers = self.workers.values()
        if self.broke and self.phase in ("resources", "services", "network"):
            self.troubles.append(self.broke)
            yield from self._enter("closing", at)
            yield from self._end_all()
        elif self.phase == "resources" and len(self.joined) == len(self.sites):
            yield from self._enter("services", at)
            for worker in workers:
                worker.state = "starting"
                yield Send(worker.site, Launch(spec=worker.spec))
        elif self.phase == "services" and all(w.state == "ready" for w in workers):
            yield from self._enter("network", at)
            yield from self._connect()
        elif self.phase == "network" and all(w.linked >= {s.name for s in w.spec.outputs} for w in workers):
            yield from self._enter("graph", at)
            self.graph_s = at
            for worker in workers:
                worker.state, worker.heard_s = "running", at
                yield self._to(worker, Go())
        elif self.phase == "graph" and all(w.over for w in workers):
            yield from self._enter("closing", at)
            yield from (Send(site, Bye()) for site in self.joined)
        if self.phase == "closing" and all(w.over for w in workers):
            yield from self._enter("over", at)
            self.over_s = at
            yield Over()

    def _enter(self, phase: Phase, at: float) -> Iterator[Instruction]:
        self.phase, self.phase_s = phase, at
        yield from ()

    def _connect(self) -> Iterator[Instruction]:
        for worker in self.workers.values():
            for link in worker.spec.inputs:
                addresses = tuple(w.addresses[link.name] for w in self._at(link.source))
                yield self._to(worker, Connect(link=link.name, addresses=addresses))

    def _watch(self, at: float) -> Iterator[Instruction]:
        """Bounds: every wait for others ends, with the names of those that did not answer."""
        if self.kill_at_s and at >= self.kill_at_s and self.phase in ("graph", "closing"):
            self.kill_at_s = 0.0
            for worker in self.workers.values():
                if not worker.over:
                    yield from self._kill(worker, f"did not end within {GRACE_S:g} s after: {self.stopped}")
            yield from self._advance(at)
        if self.phase == "graph":
            for worker in self.workers.values():
                if not worker.over and at - worker.heard_s > SILENCE_S:
                    yield from self._kill(worker, f"has not answered for {SILENCE_S:g} s")
        patience = PATIENCE_S.get(self.phase)
        if patience is not None and at - self.phase_s > patience:
            missing = self._missing()
            if self.phase == "closing":
                yield from self._end_all()
            else:
                self.broke = f"waited {patience:g} s for {missing} and went no further"
            yield from self._advance(at)

    def _missing(self) -> str:
        if self.phase == "resources":
            return "the agents of " + ", ".join(s for s in self.sites if s not in self.joined)
        waiting = [w.spec.operator for w in self.workers.values() if w.state in ("waiting", "starting")]
        unlinked = [name for w in self.workers.values() for name in {s.name for s in w.spec.outputs} - w.linked]
        return ", ".join(waiting if self.phase == "services" else unlinked) or "nothing"

    def _end_all(self) -> Iterator[Instruction]:
        for worker in self.workers.values():
            if not worker.over:
                yield from self._kill(worker, worker.text or "given up")
        yield from (Send(site, Bye()) for site in self.joined)

    def _kill(self, worker: WorkerState, text: str) -> Iterator[Instruction]:
        kill = Kill(operator=worker.spec.operator, replica=worker.spec.replica)
        started = worker.state != "waiting"
        if started and worker.site in self.joined:
            yield self._to(worker, kill)
            yield Send(worker.site, kill)
        if started:
            yield from self._fail(worker, text)
        else:
            worker.state = "failed"

    def _at(self, operator: str) -> list[WorkerState]:
        return [w for w in self.workers.values() if w.spec.operator == operator]

    def _to(self, worker: WorkerState, message: Message) -> Send:
        return Send(worker.site, message, worker.identity)
