"""Agents whose time ends: a model of a site of two, whose replicas leave, go on and come back."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from camlink.runtime.crew import WorkerState
from camlink.runtime.events import AgentLost, Begin, EndAgent, Instruction, Scale, Send, StartAgent, Tick
from camlink.runtime.load import LOAD
from camlink.runtime.messages import (
    Beat,
    Bye,
    Done,
    Exited,
    Inventory,
    Joined,
    Kill,
    Launch,
    Leave,
    Linked,
    LinkSpec,
    Message,
    Progress,
    Ready,
    WorkerSpec,
)
from camlink.runtime.states import RunState
from camlink.runtime.succession import MOST_LOSSES, Succession

AGENTS = ("site.1", "site.2")
LINK = LinkSpec(name="camera->count", source="camera", target="count", output="out", input="in", kind="zmq",
                policy="block", limit_bytes=100)
MARGIN_S = 20.0


def worker(name: str, replica: int, site: str, **more: Any) -> WorkerState:
    spec = WorkerSpec(operator=name, replica=replica, where="m:f", parameters={}, folder="f", sockets="s",
                      provenance={}, **more)
    return WorkerState(spec, site)


def progress(kind: type[Progress], spec: WorkerSpec) -> Progress:
    return kind(operator=spec.operator, replica=spec.replica, attempt=spec.attempt, facts={}, sent={}, received={})


class World:
    """Agents and workers that do at once what they are told; an agent that is asked for comes when it is let in."""

    def __init__(self, *, scalable: bool = True) -> None:
        workers = {("camera", 0): worker("camera", 0, "long", kind="source", inputs=(), outputs=(LINK,))}
        for replica, site in enumerate(AGENTS):
            workers["count", replica] = worker("count", replica, site, kind="transform", inputs=(LINK,), outputs=(),
                                               hosts=AGENTS, scalable=scalable)
        self.at, self.waiting, self.ends = 0.0, list[str](), dict[str, float]()
        self.state = RunState(workers, {LINK.name: LINK}, agents={"long": "here", **dict.fromkeys(AGENTS, "site")},
                              succession=Succession(dict.fromkeys(AGENTS, MARGIN_S)))
        self.say(Begin())
        for agent, left_s in (("long", None), ("site.1", 60.0), ("site.2", 300.0)):
            self.join(agent, left_s)
        self.say(Tick())
        assert self.state.phase == "graph"

    def say(self, event: Message) -> None:
        for instruction in self.state.handle(event, self.at):
            self.obey(instruction)

    def join(self, agent: str, left_s: float | None) -> None:
        if agent in self.waiting:
            self.waiting.remove(agent)
        self.ends[agent] = self.at + (left_s or 1e9)
        self.say(Joined(site=agent, pid=1, has=Inventory(host="h", system="s", cores=2, memory_bytes=1 << 30, gpus=(),
                                                         disk_bytes=1 << 30, walltime_left_s=left_s, versions={})))

    def obey(self, instruction: Instruction) -> None:
        if isinstance(instruction, StartAgent):
            self.waiting.append(instruction.site)
        elif isinstance(instruction, Send) and not isinstance(instruction.message, Bye):
            self.do(instruction)
        elif isinstance(instruction, Send | EndAgent):
            self.end(instruction.site)

    def end(self, agent: str) -> None:
        if agent in self.waiting:
            self.waiting.remove(agent)
        self.ends.pop(agent, None)
        self.say(AgentLost(site=agent, text="it was ended"))

    def do(self, told: Send) -> None:
        message = told.message
        if isinstance(message, Launch):
            name, replica, attempt = message.spec.operator, message.spec.replica, message.spec.attempt
            self.say(Ready(operator=name, replica=replica, attempt=attempt, pid=1,
                           addresses={link.name: "ipc://x" for link in message.spec.outputs}))
            for link in message.spec.outputs:
                self.say(Linked(operator=name, replica=replica, attempt=attempt, link=link.name))
        elif isinstance(message, Kill) and not told.worker:
            self.say(Exited(operator=message.operator, replica=message.replica, attempt=message.attempt, code=-9,
                            text="killed"))
        elif isinstance(message, Leave):
            known = next(w for w in self.state.workers.values() if w.spec.line == told.worker)
            self.say(progress(Done, known.spec))

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.at += 1.0
            for agent in [agent for agent, end_s in self.ends.items() if self.at >= end_s]:
                self.end(agent)
            for agent in self.ends:
                self.say(Beat(site=agent))
            for known in [w for w in self.state.workers.values() if w.reachable]:
                self.say(progress(Progress, known.spec))
            self.say(Tick())

    def counting(self) -> list[str]:
        """Where the replicas are that stay."""
        return sorted(w.site for w in self.state.at("count") if w.state == "running" and not w.leaving)


def test_a_replica_that_left_for_lack_of_time_joins_again_at_the_successor() -> None:
    world = World()
    world.pass_by(55)
    assert (world.counting(), world.waiting) == (["site.2"], ["site.1.next1"])
    world.join("site.1.next1", 300.0)
    assert world.counting() == ["site.1.next1", "site.2"]
    assert sorted(world.state.workers) == [("camera", 0), ("count", 0), ("count", 1), ("count", 2)]


def test_an_order_for_fewer_replicas_still_holds_when_a_successor_has_come() -> None:
    world = World()
    world.say(Scale(operator="count", replicas=1, who="somebody"))
    world.pass_by(55)
    world.join("site.1.next1", 300.0)
    assert world.counting() == ["site.1.next1"]


def test_where_no_replica_may_join_in_mid_scan_none_does() -> None:
    world = World(scalable=False)
    world.pass_by(55)
    world.join("site.1.next1", 300.0)
    assert world.counting() == ["site.2"]


class TimesEnd(RuleBasedStateMachine):
    """However agents end, come late and are asked for more or fewer replicas: those that are declared come back."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.ordered = World(), 2

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_by(seconds)

    @precondition(lambda self: self.world.waiting)
    @rule(left_s=st.sampled_from([60.0, 300.0]))
    def come(self, left_s: float) -> None:
        self.world.join(self.world.waiting[0], left_s)

    @rule(replicas=st.integers(1, 3), who=st.sampled_from(["somebody", LOAD]))
    def scale(self, replicas: int, who: str) -> None:
        if who != LOAD:
            self.ordered = min(self.ordered, replicas)
        self.world.say(Scale(operator="count", replicas=replicas if who != LOAD else max(replicas, self.ordered),
                             who=who))

    @invariant()
    def what_is_declared_is_there_when_nobody_is_waited_for(self) -> None:
        losses = self.world.state.succession.losses.values()
        if not self.world.waiting and not any(len(lost) > MOST_LOSSES for lost in losses):
            assert len(self.world.counting()) >= self.ordered

    @invariant()
    def nobody_works_where_he_would_be_told_to_leave_at_once(self) -> None:
        alone = self.world.state.succession.alone(self.world.at)
        assert len([site for site in self.world.counting() if site in alone]) <= 1


TestTimesEnd = TimesEnd.TestCase
TestTimesEnd.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
