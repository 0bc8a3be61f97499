"""Worker: one replica of one operator in a process or thread of its own; loads, binds, connects, works, reports."""

from __future__ import annotations

import importlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import zmq

from camlink.block import Block
from camlink.carry.account import merge
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Outlet
from camlink.carry.memory import MemoryOutlet
from camlink.errors import CamlinkError, Closed, InputError, PeerLost
from camlink.runtime.control import Line
from camlink.runtime.flow import Inbox, Outbox, given_up
from camlink.runtime.messages import (
    Connect,
    Cut,
    Detach,
    Done,
    Failed,
    Go,
    Kill,
    Linked,
    LinkSpec,
    Message,
    Progress,
    Ready,
    Stop,
    WorkerSpec,
)
from camlink.workflow.operator import FactValue, Operator, Screen
from camlink.workflow.parameter import build

CONNECT_S: Final = 60.0


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

    def bind(self, spec: LinkSpec, stem: str) -> Outlet:
        """The outgoing end of a link; a stem that is free for it tells where receivers find it."""
        if spec.kind != "memory":
            return make_outlet(self.context, spec.kind, spec.name, stem, receivers=spec.receivers, policy=spec.policy,
                               limit_bytes=spec.limit_bytes)
        outlet = MemoryOutlet(spec.name, f"inproc://{stem}", receivers=spec.receivers, policy=spec.policy,
                              limit_bytes=spec.limit_bytes)
        self.memory[outlet.address] = outlet
        return outlet

    def connect(self, address: str, link: str, name: str, attempt: int) -> Inlet:
        """The receiving end of the link that waits at `address`; the sender learns who is there."""
        if address in self.memory:
            return self.memory[address].join(name, attempt)
        return make_inlet(self.context, address, link, name, attempt)


class WorkerContext:
    """What the operator sees of the runtime (workflow.operator.Context)."""

    def __init__(self, spec: WorkerSpec, screen: Screen, stopping: Callable[[], bool]) -> None:
        self.name = spec.operator
        self.site = spec.site
        self.folder = Path(spec.folder)
        self.provenance: Mapping[str, str] = spec.provenance
        self.screen = screen
        self.stopping = stopping
        self.facts: dict[str, FactValue] = {}

    def tell(self, **facts: FactValue) -> None:
        """Facts for the page and the report; a later value replaces an earlier one."""
        self.facts = {**self.facts, **facts}


class Worker:
    """Runs one replica of one operator from launch to its last acknowledged block."""

    def __init__(self, spec: WorkerSpec, host: Host) -> None:
        self.spec, self.host = spec, host
        self.outlets: dict[str, Outlet] = {}
        self.inlets: dict[str, dict[str, Inlet]] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.abandoned = False
        self.ended = False
        self.stopping = threading.Event()
        self.listened = {link.name for link in spec.outputs}
        self.context = WorkerContext(spec, host.screen, self.stopping.is_set)
        self.line = Line(host.context, host.control, f"{spec.operator}/{spec.replica}", self.progress, self.arrived)

    def run(self) -> None:
        """Work until the end; whatever happens is told to the master, never raised."""
        try:
            self.prepare()
            self.work()
            self.say(Done)
        except Closed:
            self.say(Failed, error="Closed", text="given up before its end", place="")
        except Exception as error:
            self.fail(error)
        finally:
            self.ended = True
            for ends in self.inlets.values():
                for inlet in ends.values():
                    inlet.abandon()
            for outlet in self.outlets.values():
                outlet.close()
            self.line.close()

    def prepare(self) -> None:
        """Load the operator, bind what goes out, connect what comes in; returns at Go."""
        operator = _load(self.spec, self.host)
        parameters = build(operator.parameters, self.spec.parameters, self.spec.operator)
        if operator.prepare is not None:
            operator.prepare(parameters)
        self.body = operator.make(parameters, self.context)
        self.operator = operator
        addresses = {}
        for link in self.spec.outputs:
            self.outlets[link.name], addresses[link.name] = self.bind(link)
        self.say(Ready, pid=os.getpid(), addresses=addresses)
        waiting = set(self.outlets)
        deadline = time.monotonic() + CONNECT_S
        while True:
            for name in sorted(waiting):
                self.outlets[name].pump()
                if self.outlets[name].ready:
                    waiting.discard(name)
                    self.say(Linked, link=name)
            message = self.line.hear(0.005 if waiting else 0.2)
            if isinstance(message, Go):
                return
            if message is not None:
                self.obey(message)
                deadline = time.monotonic() + CONNECT_S
            if time.monotonic() > deadline:
                raise PeerLost(f"{self.spec.operator}: no word from the master for {CONNECT_S:g} s before the start")

    def bind(self, link: LinkSpec) -> tuple[Outlet, str]:
        """The outgoing end of a link, and the address where receivers find it."""
        index = [spec.name for spec in self.spec.outputs].index(link.name)
        outlet = self.host.bind(link, f"{self.spec.sockets}/{self.spec.operator}-{self.spec.replica}-{index}")
        return outlet, outlet.address

    def connect(self, name: str, addresses: Iterable[str]) -> None:
        """Connect an incoming link to all of its senders."""
        ends = self.inlets.setdefault(name, {})
        for address in addresses:
            if address not in ends:
                ends[address] = self.host.connect(address, name, f"{self.spec.operator}/{self.spec.replica}", 0)

    def obey(self, message: Message) -> None:
        """Do what the master says; Go is not for here."""
        if isinstance(message, Connect):
            self.connect(message.link, message.addresses)
        elif isinstance(message, Detach) and message.link in self.outlets:
            self.outlets[message.link].detach(message.reason)
        elif isinstance(message, Cut):
            for address, inlet in self.inlets.get(message.link, {}).items():
                if address == message.address:
                    inlet.cut()
        elif isinstance(message, Kill):
            self.abandoned = True
            self.stopping.set()
        if self.abandoned:
            raise given_up("asked by the master")

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

    def work(self) -> None:
        """The body from its first to its last block, then the acknowledged end of every link."""
        inboxes = [Inbox(self._inlets_of(port.name), self.look) for port in self.operator.inputs]
        single = len(self.operator.outputs) == 1
        self.outboxes = outboxes = {
            port.name: Outbox(self.spec.operator if single else f"{self.spec.operator}.{port.name}",
                              [self.outlets[s.name] for s in self.spec.outputs if s.output == port.name], self.look)
            for port in self.operator.outputs}
        send = _sender(outboxes)
        if self.operator.streams:
            send(self.body(*inboxes))
        else:
            self._by_block(inboxes[0], send)
        for inbox in inboxes:
            inbox.close()
        for outbox in outboxes.values():
            outbox.close()

    def _inlets_of(self, port: str) -> list[Inlet]:
        names = [spec.name for spec in self.spec.inputs if spec.input == port]
        return [inlet for name in names for inlet in self.inlets[name].values()]

    def _by_block(self, inbox: Inbox, send: Callable[[Any], None]) -> None:
        for block in inbox:
            send(self.body(block))
            inbox.release()
        finish = getattr(self.body, "finish", None)
        if finish is not None:
            send(finish())

    def progress(self) -> Message | None:
        """The heartbeat, with facts and accounts."""
        return None if self.ended else Progress(**self.state())

    def state(self) -> dict[str, Any]:
        """Facts and accounts now."""
        received = {name: [i.account.snapshot() for i in ends.values()] for name, ends in list(self.inlets.items())}
        scan = next((box.scan for box in self.outboxes.values() if box.scan), "")
        return {
            "operator": self.spec.operator, "replica": self.spec.replica,
            "facts": {**({"scan": scan} if scan else {}), **self.context.facts,
                      **({"control_refused": self.line.refused} if self.line.refused else {})},
            "sent": {name: outlet.account.snapshot() for name, outlet in list(self.outlets.items())},
            "received": {name: merge(parts) for name, parts in received.items()},
        }

    def say(self, kind: type[Message], **more: Any) -> None:
        """Send one message to the master."""
        base = self.state() if issubclass(kind, Progress) else {
            "operator": self.spec.operator, "replica": self.spec.replica}
        self.line.say(kind(**base, **more))

    def fail(self, error: Exception) -> None:
        """Tell the master what was raised and where; the trace goes to the log of this worker."""
        log = Path(self.spec.folder) / "log" / f"{self.spec.operator}.log"
        with log.open("a", encoding="utf8") as file:
            traceback.print_exception(error, file=file)
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = str(error) or type(error).__name__
        if not isinstance(error, CamlinkError):
            text = f"{type(error).__name__}: {text}"
        self.say(Failed, error=type(error).__name__, text=text, place=place, input=isinstance(error, InputError))


def _load(spec: WorkerSpec, host: Host) -> Operator:
    if spec.operator in host.operators:
        return host.operators[spec.operator]
    module, _, name = spec.where.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"operator '{spec.operator}': cannot load {spec.where} in a process of its own ({error}); "
                         "put it into a module that can be imported, or use `placer: inline`") from None
    if not isinstance(found, Operator):
        raise InputError(f"operator '{spec.operator}': {spec.where} is a {type(found).__name__}, not an operator")
    return found


def _sender(outboxes: dict[str, Outbox]) -> Callable[[Any], None]:
    """What sends whatever a body gives: nothing, a block, a NamedTuple of blocks, or an iterable of these."""
    only = next(iter(outboxes.values())) if outboxes else None

    def send(given: Any) -> None:
        if given is None:
            return
        if isinstance(given, Block):
            if only is not None:
                only.send(given)
        elif hasattr(given, "_fields"):
            for port, block in zip(given._fields, given, strict=True):
                if block is not None:
                    outboxes[port].send(block)
        else:
            for one in given:
                send(one)

    return send
