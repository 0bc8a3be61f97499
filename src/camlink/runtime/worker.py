"""Worker: one replica of one operator in a process or thread of its own; loads, binds, connects, works, reports."""

from __future__ import annotations

import errno
import importlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import DTypeLike

from camlink.block import Array, Block
from camlink.carry.account import merge
from camlink.carry.crossing import Crossing, Passage
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Outlet
from camlink.carry.memory import MemoryOutlet
from camlink.carry.spilling import SpillingOutlet
from camlink.errors import CamlinkError, Closed, InputError, OperatorFailed, PeerLost, StorageError
from camlink.runtime.cluster import open_executor
from camlink.runtime.cluster_side import entrance_of
from camlink.runtime.control import Line
from camlink.runtime.flow import given_up
from camlink.runtime.given import read_given
from camlink.runtime.hand import Hand
from camlink.runtime.last_words import read_last_words, write_last_words
from camlink.runtime.messages import (
    GIVEN_BEFORE,
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
    Leave,
    Linked,
    LinkSpec,
    Lose,
    Message,
    Parted,
    Progress,
    Ready,
    SetAside,
    Stop,
    WorkerSpec,
)
from camlink.runtime.pulse import Pulse
from camlink.runtime.work import Work, write_trace
from camlink.workflow.executor import Executor
from camlink.workflow.operator import FactValue, Operator, Screen
from camlink.workflow.parameter import build

CONNECT_S: Final = 60.0
SPILL: Final = "spill"


class NoScreen:
    """Where blocks go that nobody looks at."""

    def show(self, block: Block) -> None:
        """Forget the block."""


@dataclass
class Host:
    """What the workers of one process share: the ZeroMQ context, outlets in memory, known operators, the screen."""

    context: zmq.Context[Any]
    control: str
    memory: dict[str, MemoryOutlet] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    screen: Screen = field(default_factory=NoScreen)
    crossing: Crossing | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cross(self, passage: bytes) -> None:
        """From now on links may lead to other machines."""
        with self._lock:
            if self.crossing is None:
                self.crossing = Crossing(self.context, Passage.opened(passage))

    def bind(self, spec: LinkSpec, stem: str, spill: Path) -> Outlet:
        """The outgoing end of a link; a stem that is free for it tells where receivers find it."""
        outlet = make_outlet(self.context, spec.kind, spec.name, stem, receivers=spec.receivers, policy=spec.policy,
                             limit_bytes=spec.limit_bytes, spill=spill, crossing=self.crossing)
        ends = outlet.outlet if isinstance(outlet, SpillingOutlet) else outlet
        if isinstance(ends, MemoryOutlet):
            self.memory[outlet.address] = ends
        return outlet

    def connect(self, address: str, link: str, name: str, attempt: int, folder: Path, led: tuple[str, ...]) -> Inlet:
        """The receiving end of the link that waits at `address`; the sender learns who is there."""
        if address in self.memory:
            return self.memory[address].join(name, attempt)
        return make_inlet(self.context, address, link, name, attempt, self.crossing, folder, led)


class WorkerContext:
    """What the operator sees of the runtime (workflow.operator.Context)."""

    def __init__(self, spec: WorkerSpec, screen: Screen, stopping: Callable[[], bool],
                 pulse: Pulse | None = None) -> None:
        self.name = spec.operator
        self.site = spec.site
        self.folder = Path(spec.folder)
        self.replica, self.attempt = spec.replica, spec.attempt
        self.given = read_given(spec) if spec.kind == "source" else frozenset()
        self.provenance: Mapping[str, str] = spec.provenance
        self.screen = screen
        self._stopping, self._pulse = stopping, pulse or Pulse()
        self.facts: dict[str, FactValue] = {}
        self.room: Callable[[tuple[int, ...], DTypeLike], Array] = np.empty  # until the links are bound
        self._entrance = entrance_of(Path(spec.sockets), spec.cluster) if spec.cluster else None
        self._executor: Executor | None = None

    @property
    def executor(self) -> Executor:
        """Made when it is asked for first; threads here, or the cluster of the site. Raises PeerLost, InputError."""
        if self._executor is None:
            self._executor = open_executor(self._entrance)
        return self._executor

    @property
    def work(self) -> dict[str, FactValue]:
        """How far the work is that it gave to the executor, as a fact."""
        return {"work": self._executor.tally()._asdict()} if self._executor is not None else {}

    def close(self) -> None:
        """Close the executor."""
        if self._executor is not None:
            self._executor.close()

    def stopping(self) -> bool:
        """True when the operator is asked to come to its end soon."""
        self._pulse.beat()
        return self._stopping()

    def tell(self, **facts: FactValue) -> None:
        """Facts for the page and the report; a later value replaces an earlier one."""
        self._pulse.beat()
        self.facts = {**self.facts, **facts}


class Worker:
    """Runs one attempt at one replica of one operator from launch to its last acknowledged block."""

    def __init__(self, spec: WorkerSpec, host: Host) -> None:
        self.spec, self.host = spec, host
        self.outlets: dict[str, Outlet] = {}
        self.inlets: dict[str, dict[str, Inlet]] = {}
        self.missed: dict[str, set[str]] = {}
        self.awaited: dict[str, int] = {}
        self.abandoned = False
        self.ended = False
        self.stopping = threading.Event()
        self.listened = {link.name for link in spec.outputs}
        self.pulse = Pulse()
        self.context = WorkerContext(spec, host.screen, self.stopping.is_set, self.pulse)
        self.hand = None if spec.kind == "source" else Hand(spec)
        self.work: Work | None = None
        self.line = Line(host.context, host.control, spec.line, self.progress, self.arrived)

    def run(self) -> None:
        """Work until the end; whatever happens is told to the master, never raised."""
        well = False
        try:
            if (said := read_last_words(self.spec)) is not None:
                self.line.say(said)
                return
            self.prepare().run()
            done = Done(**self.state())
            well = write_last_words(self.spec, done)
            self.line.say(done)
        except Closed:
            self.say(Failed, error="Closed", text="given up before its end", place="", final=True)
        except Exception as error:  # the outermost frame of a worker: the master is told
            self.fail(error)
        finally:
            self.ended = True
            for ends in self.inlets.values():
                for inlet in ends.values():
                    inlet.abandon()
            for outlet in self.outlets.values():
                outlet.close()
            if self.work is not None:
                self.work.close(well=well)
            if self.hand is not None:
                self.hand.close()
            self.context.close()
            self.line.close()

    def prepare(self) -> Work:
        """Load the operator, bind what goes out, connect what comes in; returns at Go."""
        operator = load(self.spec, self.host.operators)
        parameters = build(operator.parameters, self.spec.parameters, self.spec.operator)
        if operator.prepare is not None:
            operator.prepare(parameters)
        if self.spec.passage:
            self.host.cross(self.spec.passage)
        body = operator.make(parameters, self.context)
        work = Work(self.spec, operator, body, self.hand, self.pulse, self.look, self.part, self.stopping.is_set)
        addresses = {}
        for link in self.spec.outputs:
            self.outlets[link.name], addresses[link.name] = self.bind(link)
        work.open(self.outlets)
        if work.outboxes:
            self.context.room = next(iter(work.outboxes.values())).room
        self.work = work
        self.say(Ready, pid=os.getpid(), addresses=addresses)
        waiting = set(self.outlets)
        deadline = time.monotonic() + CONNECT_S
        while True:
            for name in sorted(waiting):
                self.outlets[name].pump()
                if self.outlets[name].ready:
                    waiting.discard(name)
                    self.say(Linked, link=name)
            for inlet in (inlet for ends in self.inlets.values() for inlet in ends.values()):
                inlet.pump()
            message = self.line.hear(0.005 if waiting or self.inlets else 0.2)
            if isinstance(message, Go):
                return work
            if message is not None:
                self.obey(message)
                deadline = time.monotonic() + CONNECT_S
            if time.monotonic() > deadline:
                raise PeerLost(f"{self.spec.operator}: no word from the master for {CONNECT_S:g} s before the start")

    def bind(self, link: LinkSpec) -> tuple[Outlet, str]:
        """The outgoing end of a link, and the address where receivers find it."""
        index = [spec.name for spec in self.spec.outputs].index(link.name)
        name = self.spec.line.replace("/", "-")
        spill = Path(self.spec.folder) / SPILL / f"{self.spec.operator}-{self.spec.replica}-{index}"
        outlet = self.host.bind(link, f"{self.spec.sockets}/{name}-{index}", spill)
        return outlet, outlet.address

    def connect(self, message: Connect) -> None:
        """Connect an incoming link to its senders; one that is gone ends with what had come of it."""
        ends = self.inlets.setdefault(message.link, {})
        spec = next(spec for spec in self.spec.inputs if spec.name == message.link)
        assert self.work is not None
        inbox = self.work.inboxes[spec.input]
        if inbox.complete:
            return
        missed = self.missed.setdefault(message.link, set())
        for address in message.addresses:
            if address in ends:
                continue
            try:
                ends[address] = self.host.connect(address, message.link, self.spec.identity, self.spec.attempt,
                                                  Path(self.spec.sockets), message.led.get(address, ()))
            except PeerLost:
                missed.add(address)  # it died meanwhile; the master tells of its next attempt, or that there is none
            else:
                inbox.add(ends[address])
        self.awaited[message.link] = message.awaited
        for address in message.gone:
            self.cut(message.link, address)
        inbox.awaited[message.link] = message.awaited + len(missed)

    def cut(self, link: str, address: str) -> None:
        """A sender is gone: the stream ends with what had come of it."""
        missed, ends = self.missed.get(link, set()), self.inlets.get(link, {})
        if address in ends:
            ends[address].cut()
        if address in missed and self.work is not None:
            missed.discard(address)
            spec = next(spec for spec in self.spec.inputs if spec.name == link)
            self.work.inboxes[spec.input].awaited[link] = self.awaited.get(link, 0) + len(missed)

    def obey(self, message: Message) -> None:
        """Do what the master says; Go is not for here."""
        if isinstance(message, Connect):
            self.connect(message)
        elif isinstance(message, Detach | Lose | Expect) and message.link in self.outlets:
            self.obey_outlet(self.outlets[message.link], message)
        elif isinstance(message, Cut):
            self.cut(message.link, message.address)
        elif isinstance(message, SetAside) and self.work is not None:
            for porter in self.work.porters.values():
                porter.set_aside[message.key] = message.reason
        elif isinstance(message, Hold) and self.work is not None:
            self.work.held = message.held
        elif isinstance(message, Change) and self.work is not None:
            self.work.change(message.parameters, self.context)
        elif isinstance(message, Leave) and self.work is not None:
            self.work.leaving = True
        elif isinstance(message, Kill):
            self.abandoned = True
            self.stopping.set()
        if self.abandoned:
            raise given_up("asked by the master")

    def obey_outlet(self, outlet: Outlet, message: Detach | Lose | Expect) -> None:
        """What becomes of the receivers of an outgoing link."""
        if isinstance(message, Detach):
            outlet.detach(message.reason)
        elif isinstance(message, Lose):
            outlet.lose(message.receiver, message.reason, message.attempt)
        else:
            outlet.expect(message.receivers)

    def arrived(self, message: Message) -> None:
        """Seen as soon as it arrives: stop when asked to, and when nobody listens any more."""
        if isinstance(message, Detach):
            self.listened.discard(message.link)
        if isinstance(message, Stop) or (isinstance(message, Detach) and not self.listened):
            self.stopping.set()

    def look(self) -> None:
        """Between two waits: obey what came in meanwhile."""
        while (message := self.line.hear(0)) is not None:
            self.obey(message)

    def part(self, port: str, complete: bool) -> None:
        """Say that the operator takes nothing more of a port, and whether it has all."""
        for link in self.spec.inputs:
            if link.input == port:
                self.say(Parted, link=link.name, complete=complete)

    def progress(self) -> Message | None:
        """The heartbeat, with facts and accounts."""
        return None if self.ended else Progress(**self.state())

    def state(self) -> dict[str, Any]:
        """Facts and accounts now."""
        received = {name: [i.account.snapshot() for i in list(ends.values())]
                    for name, ends in list(self.inlets.items())}
        base = {"operator": self.spec.operator, "replica": self.spec.replica, "attempt": self.spec.attempt}
        return {
            **base, "facts": {**self.facts(), **({"control_refused": self.line.refused} if self.line.refused else {})},
            "sent": {name: outlet.account.snapshot() for name, outlet in list(self.outlets.items())},
            "received": {name: merge(parts) for name, parts in received.items()},
            **(self.work.tell() if self.work is not None else {}),
        }

    def facts(self) -> dict[str, FactValue]:
        """What the operator told, and the scan that it works on."""
        boxes = self.work.outboxes.values() if self.work is not None else ()
        scan = next((box.scan for box in boxes if box.scan), "")
        given = {GIVEN_BEFORE: len(self.context.given)} if self.context.given else {}
        joined = self.work.joined.facts() if self.work is not None and self.work.joined is not None else {}
        told = {**given, **joined, **self.context.work, **self.context.facts}
        if "warnings" in joined and "warnings" in self.context.facts:
            told["warnings"] = [*joined["warnings"], *_listed(self.context.facts["warnings"])]
        return {**({"scan": scan} if scan else {}), **told}

    def say(self, kind: type[Message], **more: Any) -> None:
        """Send one message to the master."""
        base = self.state() if issubclass(kind, Progress) else {
            "operator": self.spec.operator, "replica": self.spec.replica, "attempt": self.spec.attempt}
        self.line.say(kind(**base, **more))

    def fail(self, error: Exception) -> None:
        """Tell the master what was raised and where; the trace goes to the log of this worker."""
        write_trace(self.spec, error)
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = str(error) or type(error).__name__
        if not isinstance(error, CamlinkError):
            text = f"{type(error).__name__}: {text}"
        self.say(Failed, error=type(error).__name__, text=text, place=place, input=isinstance(error, InputError),
                 final=isinstance(error, InputError | StorageError | OperatorFailed) or _is_full(error),
                 holding=self.hand.key if self.hand is not None else "")


def _listed(fact: FactValue) -> list[str]:
    return fact if isinstance(fact, list) else [str(fact)]


def _is_full(error: Exception) -> bool:
    """Whether a disk refused: another attempt would find it as full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def load(spec: WorkerSpec, known: Mapping[str, Operator]) -> Operator:
    """The operator of a worker, from those known or from its module; raises InputError."""
    if spec.operator in known:
        return known[spec.operator]
    module, _, name = spec.where.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"operator '{spec.operator}': cannot load {spec.where} in a process of its own ({error}); "
                         "put it into a module that can be imported, or use `placer: inline`") from None
    if not isinstance(found, Operator):
        raise InputError(f"operator '{spec.operator}': {spec.where} is a {type(found).__name__}, not an operator")
    return found
