"""The state machine against agents and workers whose words take their time: whatever ends or comes, the run ends well.

A world in simulated time: agents pass words on in order, workers take a while to be ready, links say hello, and
workers and agents are killed, replicas join and leave, and agents' times end at any moment between two words.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from camlink.runtime.crew import WorkerState
from camlink.runtime.events import AgentLost, Begin, EndAgent, Instruction, Over, Scale, Send, StartAgent, Tick
from camlink.runtime.messages import (
    Beat,
    Bye,
    Connect,
    Cut,
    Detach,
    Done,
    Exited,
    Expect,
    Go,
    Inventory,
    Joined,
    Kill,
    Launch,
    Leave,
    Linked,
    LinkSpec,
    Lose,
    Message,
    Parted,
    Progress,
    Ready,
    WorkerSpec,
)
from camlink.runtime.states import RunState
from camlink.runtime.succession import Succession

LINKS = tuple(LinkSpec(name=f"{source}->{target}", source=source, target=target, output="out", input="in", kind="zmq",
                       policy="block", limit_bytes=1) for source, target in (("camera", "count"), ("count", "add")))
SAID: dict[str, Any] = {"facts": {}, "sent": {}, "received": {}}
SOON_S = 25.0  # after the source has nothing more to give, whatever happened before


class Outgoing:
    """The sending end of a link: who said hello, and who has heard the end."""

    def __init__(self, expected: int) -> None:
        self.expected, self.detached = expected, False
        self.receivers: dict[str, Worker] = {}
        self.told: set[str] = set()


class Incoming:
    """The receiving ends of a link: by address of a sender, whether it has ended; and those that were gone already."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}
        self.missed: set[str] = set()
        self.awaited, self.complete = 1, False

    def cut(self, address: str) -> None:
        if address in self.ended:
            self.ended[address] = True
        self.missed.discard(address)


class Worker:
    """One attempt: is ready after a while, works from Go on, ends when all of its senders have."""

    def __init__(self, world: World, agent: Agent, spec: WorkerSpec) -> None:
        self.world, self.agent, self.spec = world, agent, spec
        self.alive, self.state, self.leaving = True, "starting", False
        self.outgoing = {link.name: Outgoing(link.receivers) for link in spec.outputs}
        self.incoming = {link.name: Incoming() for link in spec.inputs}
        self.linked: set[str] = set()
        world.later(0.2, 0.8, self.bind)

    def say(self, kind: type[Message], **more: Any) -> None:
        named = {"operator": self.spec.operator, "replica": self.spec.replica, "attempt": self.spec.attempt}
        self.agent.say(kind(**named, **more))

    def address(self, link: str) -> str:
        return f"{self.spec.line} {link}"

    def bind(self) -> None:
        if self.alive:
            self.state = "ready"
            self.world.bound |= {self.address(link): self for link in self.outgoing}
            self.say(Ready, pid=1, addresses={link: self.address(link) for link in self.outgoing})
            self.look()

    def hear(self, message: Message) -> None:
        if self.state == "starting":
            return  # it has no line yet
        if isinstance(message, Connect):
            self.connect(message)
        elif isinstance(message, Cut):
            self.incoming[message.link].cut(message.address)
        elif isinstance(message, Go):
            self.state = "running"
        elif isinstance(message, Leave):
            self.leaving = True
        elif isinstance(message, Detach | Lose | Expect) and (end := self.outgoing.get(message.link)) is not None:
            if isinstance(message, Detach):
                end.detached = True
            elif isinstance(message, Expect):
                end.expected = message.receivers
            elif (there := end.receivers.get(message.receiver)) and there.spec.attempt <= message.attempt:
                del end.receivers[message.receiver]
                end.told.discard(message.receiver)
        self.look()

    def connect(self, message: Connect) -> None:
        end = self.incoming[message.link]
        if end.complete:
            return
        for address in message.addresses:
            sender = self.world.bound[address]
            if not sender.alive:
                end.missed.add(address)
            elif address not in end.ended:
                end.ended[address] = False
                self.world.later(0.001, 0.03, lambda sender=sender: sender.meet(message.link, self))
        for address in message.gone:
            end.cut(address)
        end.awaited = message.awaited

    def meet(self, link: str, receiver: Worker) -> None:
        known = self.outgoing[link].receivers.get(receiver.spec.identity)
        if receiver.alive and (known is None or known.spec.attempt < receiver.spec.attempt):
            self.outgoing[link].receivers[receiver.spec.identity] = receiver
            self.outgoing[link].told.discard(receiver.spec.identity)
            self.look()

    def look(self) -> None:
        if not self.alive:
            return
        for link, end in self.outgoing.items():
            if self.state == "ready" and link not in self.linked and (
                    end.detached or len(end.receivers) >= end.expected):
                self.linked.add(link)
                self.say(Linked, link=link)
        if self.state == "running" and self.is_done():
            self.tell_end()

    def is_done(self) -> bool:
        for link, end in self.incoming.items():
            if not end.complete and not end.awaited and not end.missed and all(end.ended.values()):
                end.complete = True
                self.say(Parted, link=link, complete=True)
        if not self.incoming:
            return self.world.at_s > self.world.ends_s
        return self.leaving or all(end.complete for end in self.incoming.values())

    def tell_end(self) -> None:
        for link, end in self.outgoing.items():
            for name, receiver in end.receivers.items():
                if name not in end.told and receiver.alive and receiver.state == "running":
                    end.told.add(name)
                    receiver.incoming[link].cut(self.address(link))
                    self.world.later(0.001, 0.003, receiver.look)
        if all(end.detached or end.expected <= len(end.receivers) == len(end.told) for end in self.outgoing.values()):
            self.say(Done, **SAID)
            self.end(0)

    def end(self, code: int) -> None:
        if self.alive:
            self.say(Exited, code=code, text="killed" if code else "")
            self.alive = False


class Agent:
    """Passes words on in order, each way; has workers, and may have little time."""

    def __init__(self, world: World, site: str, left_s: float | None) -> None:
        self.world, self.site, self.alive = world, site, True
        self.workers: dict[str, Worker] = {}
        self.up_s = self.down_s = 0.0
        self.say(Joined(site=site, pid=1, has=Inventory(
            host="h", system="s", cores=4, memory_bytes=1 << 30, disk_bytes=1 << 30, gpus=(), walltime_left_s=left_s,
            versions={})))
        if left_s is not None:
            world.later(left_s, left_s, self.end)

    def say(self, message: Message) -> None:
        self.up_s = max(self.up_s, self.world.at_s + self.world.chance.uniform(0.001, 0.02))
        self.world.at(self.up_s, lambda: self.world.hear(message))

    def tell(self, sent: Send) -> None:
        self.down_s = max(self.down_s, self.world.at_s + self.world.chance.uniform(0.001, 0.02))
        self.world.at(self.down_s, lambda: self.obey(sent))

    def obey(self, sent: Send) -> None:
        message = sent.message
        if not self.alive:
            return
        if isinstance(message, Launch):
            self.workers[message.spec.line] = Worker(self.world, self, message.spec)
        elif isinstance(message, Kill):
            if worker := self.workers.get(f"{message.operator}/{message.replica}/{message.attempt}"):
                worker.end(-9)
        elif isinstance(message, Bye):
            self.end()
        elif (worker := self.workers.get(sent.worker)) and worker.alive:
            worker.hear(message)

    def end(self) -> None:
        if self.alive:
            self.alive = False
            for worker in self.workers.values():
                worker.alive = False
            self.world.at(max(self.up_s, self.world.at_s) + 0.1,
                          lambda: self.world.hear(AgentLost(site=self.site, text="gone")))


class World:
    """Simulated time, the master's state, and what befalls those it rules."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.at_s, self.over, self.tie = 0.0, False, count()
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.agents: dict[str, Agent] = {}
        self.bound: dict[str, Worker] = {}
        self.ends_s = self.chance.uniform(6.0, 12.0)
        self.left_s = self.chance.choice([None, None, 8.0, 15.0])
        adds = self.chance.choice(["here", "there"])
        workers = {(name, 0): WorkerState(WorkerSpec(
            operator=name, replica=0, where="m:f", kind=kind, parameters={}, folder="f", sockets="s", provenance={},
            inputs=tuple(link for link in LINKS if link.target == name),
            outputs=tuple(link for link in LINKS if link.source == name), resumes=True, scalable=name == "count"), site)
            for name, kind, site in (("camera", "source", "here"), ("count", "transform", "there"),
                                     ("add", "sink", adds))}
        self.state = RunState(workers, {link.name: link for link in LINKS}, agents={"here": "here", "there": "there"},
                              succession=Succession({"there": 4.0} if self.left_s else {}))
        self.hear(Begin())
        self.tick()
        for _ in range(self.chance.randint(0, 8)):
            self.later(3.0, self.ends_s + 1.0, self.befall)

    def at(self, at_s: float, what: Callable[[], None]) -> None:
        heappush(self.due, (at_s, next(self.tie), what))

    def later(self, least_s: float, most_s: float, what: Callable[[], None]) -> None:
        self.at(self.at_s + self.chance.uniform(least_s, most_s), what)

    def tick(self) -> None:
        for agent in [agent for agent in self.agents.values() if agent.alive]:
            agent.say(Beat(site=agent.site))
            for worker in [worker for worker in agent.workers.values() if worker.alive]:
                worker.look()
                if worker.alive and worker.state != "starting":
                    worker.say(Progress, **SAID)
        self.hear(Tick())
        self.later(0.2, 0.2, self.tick)

    def hear(self, message: Message) -> None:
        for instruction in () if self.over else self.state.handle(message, self.at_s):
            self.obey(instruction)

    def obey(self, instruction: Instruction) -> None:
        if isinstance(instruction, StartAgent):
            site = instruction.site
            if site.endswith(".next1") and self.chance.random() < 0.3:
                self.later(0.1, 2.0, lambda: self.hear(AgentLost(site=site, text="it never came")))
            else:
                self.later(0.1, 2.0, lambda: self.join(site))
        elif isinstance(instruction, EndAgent) and instruction.site in self.agents:
            self.agents[instruction.site].end()
        elif isinstance(instruction, Send) and instruction.site in self.agents:
            self.agents[instruction.site].tell(instruction)
        elif isinstance(instruction, Over):
            self.over = True

    def join(self, site: str) -> None:
        self.agents[site] = Agent(self, site, self.left_s if site.startswith("there") else None)

    def befall(self) -> None:
        agents = [agent for agent in self.agents.values() if agent.alive]
        workers = [worker for agent in agents for worker in agent.workers.values() if worker.alive]
        what = self.chance.choice(["worker"] * 4 + ["agent"] + ["scale"] * 5)
        if self.state.phase != "graph":
            return
        if what == "worker" and workers:
            self.chance.choice(workers).end(-9)
        elif what == "agent" and agents:
            self.chance.choice(agents).end()
        else:
            self.hear(Scale(operator="count", replicas=self.chance.randint(1, 3)))

    def run(self) -> None:
        while not self.over:
            self.at_s, _, what = heappop(self.due)
            assert self.at_s < self.ends_s + SOON_S, [(w.spec.line, w.state) for w in self.state.workers.values()]
            what()


def test_whatever_ends_or_comes_between_two_words_the_run_ends_well() -> None:
    for seed in range(230, 290):
        world = World(seed)
        world.run()
        assert {worker.state for worker in world.state.workers.values()} == {"ended"}, seed
