"""The state machine of a run: `handle(event, at) -> instructions`; no I/O, no clock, replayable from its log of events.

Life of a run:  resources -> services -> network -> graph -> closing -> over
Life of a worker:  waiting -> starting -> ready -> running -> ended | failed, and back to starting when it is replaced

What a worker should be doing follows from the phase; what it does is what its heartbeats say. Whoever is silent,
stopped, dead or stuck while the graph runs is killed and replaced, a few times a minute at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal

from camlink.runtime.crew import MOST_RESTARTS, WINDOW_S, Crew, WorkerState
from camlink.runtime.events import (
    Adjust,
    AgentLost,
    Begin,
    Cancel,
    EndAgent,
    Instruction,
    Order,
    Over,
    Pause,
    Placing,
    Refused,
    Scale,
    Send,
    StartAgent,
)
from camlink.runtime.hosting import room_for, settle
from camlink.runtime.load import LOAD
from camlink.runtime.messages import (
    Beat,
    Bye,
    Done,
    Exited,
    Failed,
    FromWorker,
    Joined,
    Kill,
    Linked,
    Message,
    Parted,
    Progress,
    Ready,
    Stop,
)
from camlink.runtime.succession import Succession

Phase = Literal["resources", "services", "network", "graph", "closing", "over"]
PATIENCE_S: Final = {"resources": 30.0, "services": 180.0, "network": 60.0, "closing": 8.0}
GRACE_S: Final = 10.0
SILENCE_S: Final = 4.0
FAR_SILENCE_S: Final = 45.0  # a line to another machine may be cut for a while; it is dialled again
LAUNCH_S: Final = 60.0
AWAY_S: Final = 1.5


@dataclass
class RunState(Crew):
    """Everything the master knows; changed by `handle` alone."""

    phase: Phase = "resources"
    joined: dict[str, Joined] = field(default_factory=dict)
    beats: dict[str, float] = field(default_factory=dict)
    far: frozenset[str] = frozenset()
    queue_s: float = 0.0
    placing: dict[str, str] = field(default_factory=dict)
    succession: Succession = field(default_factory=Succession)
    begun_s: float = 0.0
    phase_s: float = 0.0
    graph_s: float = 0.0
    last_s: float = -1.0
    stopped: str = ""
    kill_at_s: float = 0.0
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broke: str = ""
    refused: int = 0

    def handle(self, event: Message, at: float) -> list[Instruction]:
        """What has to be done because of `event` at time `at` [s]."""
        self._wake(at)
        return list(self._react(event, at))

    def _wake(self, at: float) -> None:
        """When nobody asked us for a while, we were away ourselves: that time counts for nobody for whom we wait."""
        away = at - self.last_s
        if self.last_s >= 0 and away > AWAY_S:
            for worker in self.workers.values():
                worker.heard_s += away
            self.beats = {site: then + away for site, then in self.beats.items()}
            self.succession.asked = {heir: then + away for heir, then in self.succession.asked.items()}
            self.phase_s += away
            self.kill_at_s += away if self.kill_at_s else 0.0
        self.last_s = at

    def _react(self, event: Message, at: float) -> Iterator[Instruction]:
        if isinstance(event, FromWorker | Exited):
            worker = self.workers.get((event.operator, event.replica))
            if worker is None:
                self.refused += 1  # a stray message; nothing of this run is called so
            elif isinstance(event, Exited):
                yield from self._exited(worker, event, at)
            elif event.attempt == worker.spec.attempt:  # an earlier attempt has nothing to say any more
                yield from self._worker(worker, event, at)
        elif isinstance(event, Begin):
            self.agents = self.agents or {w.site: w.spec.site for w in self.workers.values()}
            self.begun_s = self.phase_s = at
            self.least = Counter(w.spec.operator for w in self.workers.values())
            yield from (StartAgent(agent) for agent in self.agents)
        elif isinstance(event, Joined):
            yield from self._joined(event, at)
        elif isinstance(event, Beat):
            yield from self._beat(event, at)
        elif isinstance(event, AgentLost):
            yield from self._agent_lost(event, at)
        elif isinstance(event, Placing) and event.agent not in self.joined:
            self.placing[event.agent] = event.text
        elif isinstance(event, Refused):
            self.refused += event.count
        elif isinstance(event, Cancel):
            yield from self._cancel(event, at)
        elif isinstance(event, Order) and self.phase not in ("closing", "over"):
            yield from self._obey(event, at)
        yield from self._advance(at)
        yield from self._watch(at)

    def _obey(self, order: Order, at: float) -> Iterator[Instruction]:
        """Do what somebody asks of the run; what does not fit any more is left."""
        if isinstance(order, Scale) and (self.phase != "graph" or self.stopped):
            return
        if isinstance(order, Scale):
            if order.who != LOAD:
                self.least[order.operator] = min(self.least.get(order.operator, 1), order.replicas)
            yield from self.shrink(order.operator, order.replicas)
            for _ in range(order.replicas - len(self.staying(order.operator))):
                yield from self._hire(order.operator, at)
        elif isinstance(order, Pause):
            yield from self.hold(order.paused)
        elif isinstance(order, Adjust):
            yield from self.adjust(order.operator, order.parameters)
        self.orders.append((at, order))

    def _exited(self, worker: WorkerState, event: Exited, at: float) -> Iterator[Instruction]:
        text = event.text or f"its process ended by itself with code {event.code}"
        if worker.moves_to and event.attempt == worker.spec.attempt:
            text = f"the time of the agent '{worker.site}' soon ends; it goes on at '{worker.moves_to}'"
            worker.moves.append(at)
        elif event.holding:  # also of an attempt that was replaced before its end was told
            hung = event.attempt == worker.hung
            why = f"its code worked for {worker.spec.patience_s:g} s without a word" if hung else text
            yield from self.strike(worker, event.holding, why, raised=hung)
        if event.attempt == worker.spec.attempt and not worker.over:
            yield from self._fail(worker, text, at)

    def _worker(self, worker: WorkerState, event: FromWorker, at: float) -> Iterator[Instruction]:
        worker.heard_s = at
        if isinstance(event, Progress):
            worker.hear(event)
        if worker.over:
            return
        if isinstance(event, Ready):
            worker.state, worker.addresses = "ready", event.addresses
            if self.phase == "graph":
                yield from self.rejoin(worker)
                if self.stopped:  # it was not there when the others were asked
                    yield self.to(worker, Stop())
        elif isinstance(event, Linked):
            worker.linked.add(event.link)
        elif isinstance(event, Parted) and event.link in self.links:
            worker.parted.add(event.link)
            if event.complete:
                worker.complete.add(event.link)
            yield from self.detach(event.link, f"{worker.spec.operator} ended early", late=event.complete)
        elif isinstance(event, Done):
            worker.state = "ended"
            self.up(worker, at)
            yield from self.part(worker, f"{worker.spec.operator} ended early")
        elif isinstance(event, Failed):
            worker.failure = event
            yield from self.strike(worker, event.holding, event.text, raised=True)
            yield from self._fail(worker, event.text, at, final=event.final)

    def _beat(self, event: Beat, at: float) -> Iterator[Instruction]:
        if event.site in self.beats:  # else its last words: it was told to end, or its end was told
            self.beats[event.site] = at
        for worker in self.workers.values():
            if self.phase == "graph" and worker.spec.line in event.stopped and worker.replaceable and not worker.over:
                yield from self._kill(worker, "its process was stopped (SIGSTOP)", at)

    def _joined(self, event: Joined, at: float) -> Iterator[Instruction]:
        self.joined[event.site] = event
        self.placing.pop(event.site, None)
        self.beats[event.site] = at
        self.succession.joined(event.site, event.has.walltime_left_s, at)
        if self.phase == "closing":
            yield Send(event.site, Bye())
        elif self.phase == "graph":
            relieved = () if self.stopped else self.succession.relieves(event.site)
            for worker in self.workers.values():
                if worker.site == event.site and worker.state == "waiting":
                    yield from self.launch(worker, at)
                elif worker.site in relieved and worker.replaceable and not worker.over:
                    yield from self.move(worker, event.site)
            for operator in self.short() if not self.stopped else ():
                yield from self._hire(operator, at)

    def _hire(self, operator: str, at: float) -> Iterator[Instruction]:
        """Let one more replica join where there is room for it."""
        model, ending = self.model(operator), self.succession.ending(at)
        return self.hire(model, room_for(model, self.workers, self.joined, self.agents, self.far, ending), at)

    def _agent_lost(self, event: AgentLost, at: float) -> Iterator[Instruction]:
        """The workers of a lost agent go on with its successor, as their next attempts; or they are lost with it."""
        self.joined.pop(event.site, None)
        self.beats.pop(event.site, None)
        self.placing.pop(event.site, None)
        missed = event.site in self.succession.asked and self.short()
        self.succession.lost(event.site, at)
        if self.phase == "closing":
            return
        theirs = [w for w in self.workers.values() if w.site == event.site and not w.over]
        heir = ""
        if self.phase == "graph" and (missed or any(w.replaceable and w.killable for w in theirs)):
            heir = self.succession.heir(event.site, at)
            yield from self._ask_for(heir, event.site, at)
        for worker in theirs:
            worker.site, worker.moves_to = heir or worker.site, ""
            yield from self._fail(worker, event.text, at, final=not heir and not worker.leaving)
        for worker in (w for w in self.workers.values() if w.moves_to == event.site):  # told to end, and not gone yet
            worker.moves_to = self.succession.heir(worker.site, at)
            yield from self._ask_for(worker.moves_to, worker.site, at)
        if self.phase == "resources":
            self.broke = event.text

    def _ask_for(self, heir: str, agent: str, at: float) -> Iterator[Instruction]:
        """Place the heir of an agent on the same site, unless that was done."""
        if heir and heir not in self.joined and heir not in self.succession.asked:
            self.succession.asked[heir] = at
            self.agents[heir] = self.agents.get(agent, agent)
            self.far |= {heir} if agent in self.far else set()
            yield StartAgent(heir)

    def _fail(self, worker: WorkerState, text: str, at: float, *, final: bool = False) -> Iterator[Instruction]:
        """Replace a worker that is gone, or give it up for good."""
        worker.text = text
        if worker.leaving and not final:  # it was about to go: the others take what it had
            yield from self.depart(worker, text)
            return
        if worker.moves_to:  # whatever ended it
            worker.site, worker.moves_to = worker.moves_to, ""
        there = worker.site in self.joined
        if self.phase == "graph" and not final and (there or worker.site in self.succession.asked):
            if self.may_restart(worker, at):
                yield from self.restart(worker, text, at, there=there)
                return
            if worker.replaceable:
                worker.text = f"{text}; given up after {MOST_RESTARTS} restarts in {WINDOW_S:g} s"
        worker.state = "failed"
        yield from self.part(worker, f"{worker.spec.operator} failed")
        if self.phase in ("services", "network"):
            self.broke = f"{worker.spec.operator}: {text}"

    def _cancel(self, event: Cancel, at: float) -> Iterator[Instruction]:
        if not self.stopped:
            self.stopped = event.reason or Cancel().reason
            for worker in self.workers.values():
                if not worker.over:
                    yield self.to(worker, Stop())
            self.kill_at_s = at + GRACE_S
            if self.phase in ("resources", "services", "network"):
                self.broke = self.stopped
        if event.force:
            self.kill_at_s = at

    def _advance(self, at: float) -> Iterator[Instruction]:
        """Go on to the next phase when this one has all that it waits for."""
        workers = self.workers.values()
        if self.broke and self.phase in ("resources", "services", "network"):
            self.troubles.append(self.broke)
            self._enter("closing", at)
            yield from self._end_all(at)
        elif self.phase == "resources" and len(self.joined) == len(self.agents):
            self.broke = settle(self.workers, self.links, self.joined, self.agents, self.far)
            if self.broke:
                yield from self._advance(at)
                return
            self._enter("services", at)
            for worker in workers:
                yield from self.launch(worker, at)
        elif self.phase == "services" and all(w.state == "ready" for w in workers):
            self._enter("network", at)
            for worker in workers:
                yield from self.connect(worker)
        elif self.phase == "network" and all(w.linked >= w.outputs for w in workers):
            self._enter("graph", at)
            self.graph_s = at
            for worker in workers:
                yield from self.go(worker, at)
        elif self.phase == "graph" and all(w.over for w in workers):
            self._enter("closing", at)
            yield from (Send(site, Bye()) for site in self.joined)
        elif self.phase == "graph":
            for worker in workers:
                if worker.state == "ready" and worker.linked >= worker.outputs:
                    yield from self.go(worker, at)
        if self.phase == "closing" and all(w.over for w in workers):
            self._enter("over", at)
            yield Over()

    def _enter(self, phase: Phase, at: float) -> None:
        self.phase, self.phase_s = phase, at

    def _watch(self, at: float) -> Iterator[Instruction]:
        """Bounds: every wait for others ends, with the names of those that did not answer."""
        if self.kill_at_s and at >= self.kill_at_s and self.phase in ("graph", "closing"):
            self.kill_at_s = 0.0
            for worker in self.workers.values():
                if not worker.over:
                    yield from self._kill(worker, f"did not end within {GRACE_S:g} s after: {self.stopped}", at,
                                          final=True)
            yield from self._advance(at)
        if self.phase == "graph":
            yield from self._watch_graph(at)
        patience = PATIENCE_S.get(self.phase, inf) + (self.queue_s if self.phase == "resources" else 0.0)
        if at - self.phase_s > patience:
            if self.phase == "closing":
                yield from self._end_all(at)
            else:
                self.broke = f"waited {patience:g} s for {self._missing()} and went no further"
            yield from self._advance(at)

    def _watch_graph(self, at: float) -> Iterator[Instruction]:
        """Kill whoever does not answer, is not up in time, or is stuck; an agent that is silent takes its workers."""
        for agent, since in list(self.succession.asked.items()):
            patience_s = PATIENCE_S["resources"] + self.queue_s
            if at - since > patience_s:
                text = f"the agent '{agent}', asked for in place of one that was lost, did not come in {patience_s:g} s"
                yield EndAgent(agent, text)
                yield from self._agent_lost(AgentLost(site=agent, text=text), at)
        for agent in self.succession.due(at):
            yield from self._ask_for(self.succession.heir(agent, at), agent, at)
        yield from self.withdraw(self.succession.alone(at))
        for agent, heir in self.succession.heirs.items():
            if agent in self.joined and heir in self.joined and all(
                    w.over or w.site != agent for w in self.workers.values()):
                self.succession.relieved.add(agent)
                del self.joined[agent]
                self.beats.pop(agent, None)
                yield Send(agent, Bye(relieved=True))
        for site, then in list(self.beats.items()):
            if at - then > self._silence_s(site):
                del self.beats[site]
                yield EndAgent(site, f"the agent of site '{site}' has not answered for {self._silence_s(site):g} s")
        for worker in self.workers.values():
            silent_s = at - worker.heard_s
            if worker.over or at - self.beats.get(worker.site, at - SILENCE_S) > AWAY_S:
                continue  # it speaks by its agent, which is silent itself
            if worker.state == "starting" and silent_s > LAUNCH_S:
                yield from self._kill(worker, f"was not ready in {LAUNCH_S:g} s", at)
            elif worker.state != "starting" and silent_s > self._silence_s(worker.site):
                yield from self._kill(worker, f"has not answered for {self._silence_s(worker.site):g} s", at)
            elif 0 < worker.spec.patience_s < worker.busy_s:
                worker.hung = worker.spec.attempt
                yield from self._kill(worker, f"has worked for {worker.spec.patience_s:g} s without a word; if it may, "
                                              "say so by `patience_s`", at)

    def _silence_s(self, site: str) -> float:
        return FAR_SILENCE_S if site in self.far else SILENCE_S

    def _missing(self) -> str:
        if self.phase == "resources":
            return "the agents of " + ", ".join(s for s in self.agents if s not in self.joined)
        waiting = [w.spec.operator for w in self.workers.values() if w.state in ("waiting", "starting")]
        unlinked = [name for w in self.workers.values() for name in w.outputs - w.linked]
        return ", ".join(waiting if self.phase == "services" else unlinked) or "nothing"

    def _end_all(self, at: float) -> Iterator[Instruction]:
        for worker in self.workers.values():
            if not worker.over:
                worker.given_up = not worker.text
                yield from self._kill(worker, worker.text or "given up", at, final=True)
        yield from (Send(site, Bye()) for site in self.joined)

    def _kill(self, worker: WorkerState, text: str, at: float, *, final: bool = False) -> Iterator[Instruction]:
        kill = Kill(**worker.spec.who)
        started = worker.state != "waiting"
        if started and worker.site in self.joined:
            yield self.to(worker, kill)
            yield Send(worker.site, kill)
        if started:
            yield from self._fail(worker, text, at, final=final or not worker.killable)
        else:
            worker.state = "failed"
