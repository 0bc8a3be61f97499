"""Story: the log of a run replayed step by step through its state machine, and told in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from camlink.carry.disk.journal import SUFFIX, read_blocks
from camlink.errors import FormatError
from camlink.runtime.crew import WorkerState
from camlink.runtime.events import (
    Adjust,
    AgentLost,
    Begin,
    Cancel,
    EndAgent,
    Instruction,
    Order,
    Pause,
    Placing,
    Refused,
    Scale,
    Send,
    StartAgent,
    Tag,
)
from camlink.runtime.log import EVENTS, Entry, read_log
from camlink.runtime.messages import Detach, Exited, Failed, Go, Joined, Launch, Leave, Parted
from camlink.runtime.states import RunState
from camlink.runtime.status import STEPS, RunStatus
from camlink.runtime.succession import Succession
from camlink.runtime.watch import Watch
from camlink.runtime.work.porter import DEAD_LETTERS, JOURNALS
from camlink.workflow.needs import say_bytes

_PHASES: Final = {"services": 0, "network": 1, "graph": 2}


class Moment(NamedTuple):
    """One step of a replay: what happened, what was done because of it, and the state after it."""

    entry: Entry
    instructions: list[Instruction]
    state: RunState


def replay(folder: Path) -> Iterator[Moment]:
    """Every event of a run in order; raises FormatError when the folder holds no log of a run."""
    path = folder / EVENTS
    if not path.is_file():
        raise FormatError(f"{folder}: no run is kept there (no {EVENTS}); give the folder that the run printed at its "
                          "end as `log`")
    state: RunState | None = None
    for entry in read_log(path):
        if isinstance(entry.event, Begin):
            workers = {(p.spec.operator, p.spec.replica): WorkerState(p.spec, p.site, killable=p.killable)
                       for p in entry.event.workers}
            state = RunState(workers, {link.name: link for link in entry.event.links}, agents=entry.event.agents,
                             far=entry.event.far, queue_s=entry.event.queue_s,
                             succession=Succession(entry.event.margins))
        if state is None:
            raise FormatError(f"{path}: does not begin with the begin of a run")
        yield Moment(entry, state.handle(entry.event, entry.at), state)


def tell(folder: Path) -> Iterator[str]:
    """What happened in a run, one sentence a line, each with its time after the beginning [s]."""
    teller, last = _Teller(), None
    for last in replay(folder):
        yield from (f"{last.entry.at - last.state.begun_s:8.2f} s  {line}" for line in teller.lines(last))
    if last is None:
        raise FormatError(f"{folder / EVENTS}: the log is empty")
    yield from _ending(folder, last, teller)


class _Teller:
    """Turns moments into sentences; remembers what was said."""

    def __init__(self) -> None:
        self.begin = Begin()
        self._phase = ""
        self._restarts = 0

    def lines(self, moment: Moment) -> Iterator[str]:
        """The sentences for one moment; none for what is of no interest."""
        event, state = moment.entry.event, moment.state
        if isinstance(event, Begin):
            self.begin = event
            yield f"workflow '{event.workflow}' begins: {', '.join(event.uses)}"
        elif isinstance(event, Joined):
            has = event.has
            gpus = f", {len(has.gpus)} x {has.gpus[0]}" if has.gpus else ""
            yield (f"the agent '{event.site}' joined from {has.host}: {has.cores} cores, "
                   f"{say_bytes(has.memory_bytes)}{gpus}")
        elif isinstance(event, Failed):
            at = f" at {event.place}" if event.place else ""
            yield f"{event.operator}/{event.replica} raised{at}{_holding(event.holding)}: {event.text}"
        elif isinstance(event, Exited) and event.code:
            yield f"{event.operator}/{event.replica} ended{_holding(event.holding)}: {event.text}"
        elif isinstance(event, Placing):
            yield f"the agent '{event.agent}': {event.text}"
        elif isinstance(event, Refused):
            yield f"{event.where} turned {event.count} away, the last from {event.peer}: {event.reason}"
        elif isinstance(event, AgentLost) and state.phase != "over":
            yield f"site '{event.site}': {event.text}"
        elif isinstance(event, Cancel):
            yield f"asked to end{' at once' if event.force else ''}: {event.reason}"
        elif isinstance(event, Parted) and not event.complete:
            yield f"{event.operator}/{event.replica} takes nothing more of {event.link}"
        elif isinstance(event, Order):
            yield f"{event.who or 'its owner'} {_asked(event)}"
        yield from self._done(moment)
        if state.phase != self._phase:
            self._phase = state.phase
            if state.phase in _PHASES:
                yield f"step {_PHASES[state.phase] + 1} is done: {STEPS[_PHASES[state.phase]]}"
            elif state.phase == "closing":
                yield "every operator has ended" if not state.troubles else f"given up: {'; '.join(state.troubles)}"

    def _done(self, moment: Moment) -> Iterator[str]:
        """What the state machine did about it."""
        for restart in moment.state.restarts[self._restarts:]:
            yield f"{restart.operator}/{restart.replica} is replaced, since it is gone: {restart.reason}"
        self._restarts = len(moment.state.restarts)
        said = set()
        for instruction in moment.instructions:
            if isinstance(instruction, StartAgent) and self._phase == "graph":
                yield f"the agent '{instruction.site}' is asked for"
            if isinstance(instruction, EndAgent):
                yield f"{instruction.text}; it is ended"
            if not isinstance(instruction, Send):
                continue
            message, state = instruction.message, moment.state
            if isinstance(message, Launch) and message.spec.attempt and message.spec.set_aside:
                yield (f"attempt {message.spec.attempt} of {message.spec.identity} leaves aside: "
                       + "; ".join(message.spec.set_aside))
            elif isinstance(message, Go) and self._phase == "graph":
                took = [r for r in state.restarts if r.up_s == moment.entry.at]
                later = f", {took[-1].up_s - took[-1].down_s:.2f} s later" if took else ""
                yield f"{instruction.worker} works{later}"
            elif isinstance(message, Leave):
                yield f"{instruction.worker} is asked to leave"
            elif isinstance(message, Detach) and message.link not in said and isinstance(
                    moment.entry.event, Failed | Exited | AgentLost):
                said.add(message.link)
                yield f"nobody listens to {message.link} any more: {message.reason}"


def _asked(order: Order) -> str:
    if isinstance(order, Scale):
        return f"asked for {order.replicas} replicas of {order.operator}"
    if isinstance(order, Pause):
        return "paused the sources" if order.paused else "let the sources go on"
    if isinstance(order, Adjust):
        return f"set {order.operator}: " + ", ".join(f"{name} = {value}" for name, value in order.parameters.items())
    return f"tagged the scan: {order.text}" if isinstance(order, Tag) else "asked"


def _holding(key: str) -> str:
    return f" while it held {key}" if key else ""


def _ending(folder: Path, last: Moment, teller: _Teller) -> Iterator[str]:
    state = last.state
    status = Watch(teller.begin.workflow, teller.begin.uses).status(state, last.entry.at)
    if state.phase != "over":
        yield (f"The log ends in phase '{state.phase}': the master was gone. `camlink recover {folder}` finishes what "
               "it can.")
    else:
        yield f"Verdict: {status.verdict}" + "".join(f"\n  because {reason}" for reason in status.reasons)
    yield "Frames: " + ", ".join(f"{name} {_counted(value)}" for name, value in status.frames.items()
                                 if value not in ({}, 0))
    yield from _links(status)
    for operator in status.operators:
        times = "once" if operator.restarts == 1 else f"{operator.restarts} times"
        told = [f"replaced {times}"] if operator.restarts else []
        told += [f"left out {operator.repeated} frames that came again"] if operator.repeated else []
        if told:
            yield f"{operator.name}: {', '.join(told)}"
    for path in sorted((folder / DEAD_LETTERS).glob(f"*{SUFFIX}")):
        for block in read_blocks(path):
            yield (f"Dead letter in {path.name}: {block.count} frames of {block.header.source}, "
                   f"{block.header.facts.get('error', '')}")
    left = sorted(path.name for path in (folder / JOURNALS).glob("*"))
    if left:
        yield f"Journals that nobody has finished with: {', '.join(left)}"


def _counted(value: int | dict[str, int]) -> str:
    return str(value) if isinstance(value, int) else ", ".join(f"{n} ({why})" for why, n in value.items())


def _links(status: RunStatus) -> Iterator[str]:
    for link in status.links:
        parts = [f"{link.sent} sent", f"{link.acknowledged} acknowledged"]
        parts += [f"{n} dropped by {policy}" for policy, n in link.dropped.items() if n]
        parts += [f"{n} lost: {reason}" for reason, n in link.lost.items() if n]
        parts += [f"{link.resent} sent again"] if link.resent else []
        age = " and ".join(f"{link.age_ms.get(name, 0):.3g} ms {name}" for name in ("p50", "p99"))
        parts += [f"{n} connections turned away: {who}" for who, n in link.turned_away.items()]
        yield f"Link {link.name} ({link.kind}, {link.policy}): {', '.join(parts)}; age {age}"
