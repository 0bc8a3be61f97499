"""Crew: the workers of a run, who takes the place of whom, and which neighbours are told; pure, as the states are.

A worker that is gone while the graph runs is replaced by its next attempt: Launch, Ready, the neighbours connect to its
new addresses and forget the old ones, Go. Its senders give what it had not acknowledged to the other replicas at once,
or to the next attempt when it says hello.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from camlink.carry.account import Snapshot, merge
from camlink.runtime.events import Adjust, Instruction, Order, Send
from camlink.runtime.messages import (
    REPLICA_SEQUENCES,
    Change,
    Connect,
    Cut,
    Detach,
    Done,
    Expect,
    Failed,
    Go,
    Hold,
    Kill,
    Launch,
    Leave,
    LinkSpec,
    Lose,
    Message,
    Progress,
    SetAside,
    WorkerSpec,
)
from camlink.runtime.status import OperatorState
from camlink.workflow.assignment import Given, Unmet

MOST_RESTARTS: Final = 5
WINDOW_S: Final = 60.0
SEQUENCE_GAP: Final = 1000
STRIKES: Final = 6
"""A block is set aside when those who held it have this many strikes: 3 for each that raised or hung, 2 that died."""


@dataclass
class WorkerState:
    """What is known of one worker; `past_...` is what its earlier attempts left behind."""

    spec: WorkerSpec
    site: str
    state: OperatorState = "waiting"
    text: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    parted: set[str] = field(default_factory=set)
    complete: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    sent: dict[str, Snapshot] = field(default_factory=dict)
    received: dict[str, Snapshot] = field(default_factory=dict)
    repeated: int = 0
    aside: dict[str, int] = field(default_factory=dict)
    busy_s: float = 0.0
    unkept: str = ""
    heard_s: float = 0.0
    leaving: bool = False
    moves_to: str = ""
    hung: int = -1
    failure: Failed | None = None
    given_up: bool = False  # it ended with the run, and did nothing wrong
    restarts: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    gone: dict[str, tuple[str, ...]] = field(default_factory=dict)
    past_sent: dict[str, Snapshot] = field(default_factory=dict)
    past_received: dict[str, Snapshot] = field(default_factory=dict)
    past_repeated: int = 0
    remembered: int = 0
    recalled: int = 0
    known: int = 0
    past_forgotten: int = 0
    before: tuple[dict[str, Snapshot], dict[str, Snapshot]] = field(default_factory=lambda: ({}, {}))
    killable: bool = True

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not, and nobody takes its place."""
        return self.state in ("ended", "failed")

    @property
    def spoke(self) -> bool:
        """Whether its last words were heard: a heartbeat knows less."""
        failed = self.failure is not None and self.failure.attempt == self.spec.attempt
        return self.state == "ended" or failed

    @property
    def outputs(self) -> set[str]:
        """Its outgoing links; a next attempt does not make again those by which everything has arrived."""
        return {link.name for link in self.spec.outputs}

    @property
    def reachable(self) -> bool:
        """Whether it has said Ready in this attempt and not ended."""
        return self.state in ("ready", "running")

    @property
    def replaceable(self) -> bool:
        """Whether another attempt can go on: a source that resumes, or anybody whose input was kept."""
        return (self.spec.kind != "source" or self.spec.resumes) and not self.unkept

    @property
    def forgotten(self) -> int:
        """Frames that it had taken and acknowledged and that its next attempt did not find: the disk was lost too."""
        return self.past_forgotten + (max(self.known - self.recalled, 0) if self.recalled >= 0 else 0)

    def hear(self, event: Progress) -> None:
        """Take in what it says of itself; of an attempt that it repeats, the accounts were taken in already."""
        if type(event) is Progress and self.spoke:  # made before the last words, and sent after them
            return
        if isinstance(event, Done) and event.repeats is not None:
            self.past_sent, self.past_received = self.before
            self.known = 0
        self.facts, self.sent, self.received = event.facts, event.sent, event.received
        self.repeated, self.aside, self.busy_s, self.unkept = event.repeated, event.aside, event.busy_s, event.unkept
        self.remembered, self.recalled = event.remembered, event.recalled

    def next_attempt(self, at: float) -> None:
        """Become the next attempt; what this one did goes to its past."""
        self.before = dict(self.past_sent), dict(self.past_received)
        for name, account in self.sent.items():
            self.past_sent[name] = merge([self.past_sent.get(name, Snapshot()), settled(account)])
        for name, account in self.received.items():
            self.past_received[name] = merge([self.past_received.get(name, Snapshot()), account])
        self.past_repeated += self.repeated
        self.past_forgotten = self.forgotten
        self.known = self.remembered if self.recalled >= 0 else max(self.known, self.remembered)
        self.remembered, self.recalled = 0, -1
        for name, address in self.addresses.items():
            self.gone[name] = (*self.gone.get(name, ()), address)
        blocks = max((account.blocks for account in self.sent.values()), default=0)
        self.spec = replace(self.spec, attempt=self.spec.attempt + 1,
                            first_sequence=self.spec.first_sequence + blocks + SEQUENCE_GAP)
        self.sent, self.received, self.addresses = {}, {}, {}
        self.linked, self.parted, self.complete = set(), set(), set()
        self.repeated, self.busy_s = 0, 0.0  # the next attempt finds the dead letters of this one
        self.restarts.append(at)
        self.heard_s, self.state = at, "starting"


def settled(account: Snapshot) -> Snapshot:
    """The account of a dead sender: what nobody acknowledged its next attempt sends again, so it never was sent."""
    sent = account.acknowledged + sum(account.lost.values())
    return replace(account, sent=sent, offered=sent + sum(account.dropped.values()), kept=0, queue_bytes=0)


class Restart(Message):
    """One replacement of a worker: why, when it was noticed and when the next attempt worked [s, UNIX]; 0 if never."""

    operator: str
    replica: int
    reason: str
    down_s: float
    up_s: float = 0.0


@dataclass
class Crew:
    """All workers and links of a run; changed by the state machine alone."""

    workers: dict[tuple[str, int], WorkerState]
    links: dict[str, LinkSpec]
    restarts: list[Restart] = field(default_factory=list)
    strikes: dict[tuple[str, str], int] = field(default_factory=dict)
    orders: list[tuple[float, Order]] = field(default_factory=list)
    agents: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    least: dict[str, int] = field(default_factory=dict)

    def to(self, worker: WorkerState, message: Message) -> Send:
        """The instruction that sends a message to a worker."""
        return Send(worker.site, message, worker.spec.line)

    def at(self, operator: str) -> list[WorkerState]:
        """The replicas of an operator."""
        return [w for w in self.workers.values() if w.spec.operator == operator]

    def connect(self, worker: WorkerState) -> Iterator[Instruction]:
        """Tell a worker where its senders are."""
        for link in worker.spec.inputs:
            senders = [w for w in self.at(link.source) if not w.over and link.name in w.outputs]
            there = tuple(w.addresses[link.name] for w in senders if link.name in w.addresses)
            yield self.to(worker, Connect(link=link.name, addresses=there,
                                          awaited=self._awaited(link.name, link.source)))

    def may_restart(self, worker: WorkerState, at: float) -> bool:
        """Whether the worker is worth another attempt: it can be replaced, and was not too often lost of late."""
        lost, moved = (sum(at - then < WINDOW_S for then in times) for times in (worker.restarts, worker.moves))
        return worker.replaceable and lost - moved < MOST_RESTARTS

    def restart(self, worker: WorkerState, text: str, at: float, *, there: bool = True) -> Iterator[Instruction]:
        """Launch the next attempt of a worker that is gone, after seeing that this one is.

        When its agent is not `there` yet, the next attempt waits for it.
        """
        spec = worker.spec
        if there:
            yield Send(worker.site, Kill(**spec.who))
        worker.next_attempt(at)
        outputs = tuple(replace(k, receivers=self._listening(k)) for k in spec.outputs if not self._has_all(k))
        worker.spec = replace(worker.spec, outputs=outputs)
        self.restarts.append(Restart(operator=spec.operator, replica=spec.replica, reason=text, down_s=at))
        yield from self.lose(worker, text, spec.attempt)
        if there:
            yield from self.launch(worker, at)
        else:
            worker.state = "waiting"

    def move(self, worker: WorkerState, agent: str) -> Iterator[Instruction]:
        """Let a worker go on at another agent: it is ended here, and its exit is the beginning of its next attempt."""
        worker.moves_to = agent
        yield Send(worker.site, Kill(**worker.spec.who))

    def launch(self, worker: WorkerState, at: float) -> Iterator[Instruction]:
        """Start a worker at its agent."""
        worker.state, worker.heard_s = "starting", at
        yield Send(worker.site, Launch(spec=worker.spec))

    def lose(self, worker: WorkerState, text: str, attempt: int) -> Iterator[Instruction]:
        """Let its senders give to others what a dead attempt of a receiver had not acknowledged."""
        for link in worker.spec.inputs:
            for sender in (w for w in self.at(link.source) if w.reachable):
                yield self.to(sender, Lose(link=link.name, receiver=worker.spec.identity, reason=text, attempt=attempt))

    def staying(self, operator: str) -> list[WorkerState]:
        """The replicas of an operator that work or are going to, and were not asked to leave."""
        return [w for w in self.at(operator) if not w.over and not w.leaving]

    def shrink(self, operator: str, replicas: int) -> Iterator[Instruction]:
        """Let replicas beyond so many leave; at least one stays."""
        yield from (self.dismiss(worker) for worker in self.staying(operator)[max(replicas, 1):])

    def dismiss(self, worker: WorkerState) -> Send:
        """Let a replica leave: it ends what it has begun and gives back the rest."""
        worker.leaving = True
        return self.to(worker, Leave())

    def depart(self, worker: WorkerState, text: str) -> Iterator[Instruction]:
        """A replica is gone before it had left: the others take what it had, and what nobody got of it they send."""
        worker.state, worker.sent = "ended", {name: settled(account) for name, account in worker.sent.items()}
        yield from self.lose(worker, text, worker.spec.attempt)
        yield from self.part(worker, text)

    def withdraw(self, agents: set[str]) -> Iterator[Instruction]:
        """Let replicas at agents that soon are gone leave, where others of their operator stay elsewhere."""
        for worker in self.workers.values():
            if worker.site in agents and worker.state == "running" and not worker.leaving and any(
                    w.site not in agents and w.state == "running" and not w.leaving
                    for w in self.at(worker.spec.operator)):
                yield self.dismiss(worker)

    def short(self) -> list[str]:
        """Operators, once for each replica that they lack of the `least` declared since one left for lack of time."""
        lacks = []
        for operator, least in self.least.items():
            there = self.staying(operator)
            if there and there[0].spec.scalable and any(w.leaving for w in self.at(operator)):
                lacks += [operator] * (least - len(there))
        return lacks

    def model(self, operator: str) -> WorkerState:
        """The replica that one more is made after."""
        known = self.at(operator)
        return next((w for w in known if not w.over), known[0])

    def hire(self, model: WorkerState, room: Given | Unmet, at: float) -> Iterator[Instruction]:
        """Let one more replica like `model` join, or tell why there is no room for it."""
        if isinstance(room, Unmet):
            model.text = room.text
            return
        operator, number = model.spec.operator, len(self.at(model.spec.operator))
        outputs = tuple(replace(k, receivers=self._listening(k)) for k in model.spec.outputs)
        spec = replace(model.spec, replica=number, attempt=0, first_sequence=number * REPLICA_SEQUENCES,
                       outputs=outputs, gpus=room.gpus, site=self.agents.get(room.agent) or model.spec.site)
        self.workers[operator, number] = WorkerState(spec, room.agent, "starting", heard_s=at, killable=model.killable)
        for link in spec.inputs:
            for sender in (w for w in self.at(link.source) if w.reachable):
                yield self.to(sender, Expect(link=link.name, receivers=self._listening(link)))
        yield Send(room.agent, Launch(spec=spec))

    def hold(self, paused: bool) -> Iterator[Instruction]:
        """Let sources give nothing more, or go on; the next attempt of one that was replaced keeps to it."""
        self.paused = paused
        for worker in self.workers.values():
            if worker.spec.kind == "source" and worker.state == "running":
                yield self.to(worker, Hold(held=paused))

    def adjust(self, operator: str, parameters: dict[str, Any]) -> Iterator[Instruction]:
        """Give all replicas of an operator these parameters, and those that come later."""
        for worker in self.at(operator):
            worker.spec = replace(worker.spec, parameters={**worker.spec.parameters, **parameters})
            if worker.state == "running":
                yield self.to(worker, Change(parameters=worker.spec.parameters))

    def _has_all(self, link: LinkSpec) -> bool:
        """Whether every receiver has had all that comes by this link, so that nothing has to go again."""
        return all(link.name in w.complete for w in self.at(link.target))

    def _listening(self, link: LinkSpec) -> int:
        return max(sum(not w.over for w in self.at(link.target)), 1)

    def rejoin(self, worker: WorkerState) -> Iterator[Instruction]:
        """The next attempt has bound its addresses: connect it both ways."""
        yield from self.connect(worker)
        if worker.leaving:  # asked before it could hear
            yield self.to(worker, Leave())
        for key, reason in worker.spec.set_aside.items():  # what was learnt since it was launched
            yield self.to(worker, SetAside(key=key, reason=reason))
        for link in worker.spec.outputs:
            receivers = [w for w in self.at(link.target) if not w.over and link.name not in w.parted]
            if not receivers:
                yield self.to(worker, Detach(link=link.name, reason=f"{link.target} ended early"))
            elif self._listening(link) != link.receivers:  # some came or left since it was launched
                yield self.to(worker, Expect(link=link.name, receivers=self._listening(link)))
            gone = worker.gone.pop(link.name, ())
            for receiver in receivers:
                if receiver.reachable:
                    new = (worker.addresses[link.name],)
                    yield self.to(receiver, Connect(link=link.name, addresses=new, gone=gone))

    def go(self, worker: WorkerState, at: float) -> Iterator[Instruction]:
        """Start the body of the next attempt, once every link is there."""
        worker.state, worker.heard_s = "running", at
        self.up(worker, at)
        if any(isinstance(order, Adjust) and order.operator == worker.spec.operator for _, order in self.orders):
            yield self.to(worker, Change(parameters=worker.spec.parameters))  # it may have been launched before
        yield self.to(worker, Go())
        if self.paused and worker.spec.kind == "source":
            yield self.to(worker, Hold(held=True))

    def up(self, worker: WorkerState, at: float) -> None:
        """The next attempt works, or says that everything was done before it."""
        worker.text = ""
        for known in self.restarts:
            if (known.operator, known.replica) == (worker.spec.operator, worker.spec.replica) and not known.up_s:
                known.up_s = at

    def strike(self, worker: WorkerState, key: str, reason: str, *, raised: bool) -> Iterator[Instruction]:
        """Remember who was holding a block when it was lost; a block that ends those who try it is set aside."""
        name = worker.spec.operator
        before = self.strikes.get((name, key), 0)
        self.strikes[name, key] = before + (3 if raised else 2)
        if not key or before >= STRIKES or self.strikes[name, key] < STRIKES:
            return
        for one in self.at(name):
            one.spec = replace(one.spec, set_aside={**one.spec.set_aside, key: reason})
            if one.reachable:
                yield self.to(one, SetAside(key=key, reason=reason))

    def detach(self, link: str, reason: str, *, late: bool = False) -> Iterator[Instruction]:
        """Tell the senders of a link that nobody listens any more, when that is so; `late` only who came later."""
        spec = self.links[link]
        if all(w.over or link in w.parted for w in self.at(spec.target)):
            for sender in self.at(spec.source):
                if sender.reachable and (sender.restarts or sender.state == "ready" or not late):
                    yield self.to(sender, Detach(link=link, reason=reason))

    def part(self, worker: WorkerState, reason: str) -> Iterator[Instruction]:
        """Tell the neighbours of a worker that is over for good."""
        left = sum(not w.over for w in self.at(worker.spec.operator))
        if worker.state == "failed" and left:
            yield from self.lose(worker, reason, worker.spec.attempt)
        for link in worker.spec.inputs:
            yield from self.detach(link.name, reason)
            for sender in (w for w in self.at(link.source) if left and w.reachable):
                if worker.state == "failed" or worker.leaving:
                    yield self.to(sender, Expect(link=link.name, receivers=left))
        for link in worker.spec.outputs:
            address, gone = worker.addresses.get(link.name, ""), worker.gone.get(link.name, ())
            for receiver in (w for w in self.at(link.target) if w.reachable):
                if gone or not address:  # nobody waits any more for the attempt that should have come
                    yield self.to(receiver, Connect(link=link.name, addresses=(), gone=gone,
                                                    awaited=self._awaited(link.name, link.source)))
                # one that was replaced may have come too late to hear the end from the sender itself, and one that was
                # about to leave may have been ended before it could say so
                if worker.state == "failed" or worker.leaving or receiver.restarts:
                    yield self.to(receiver, Cut(link=link.name, address=address))

    def _awaited(self, link: str, source: str) -> int:
        """How many senders of a link are going to have an address."""
        return sum(not w.over and link in w.outputs and link not in w.addresses for w in self.at(source))
