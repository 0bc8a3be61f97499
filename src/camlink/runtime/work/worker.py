"""Worker: one replica of one operator in a process or thread of its own; loads, binds, connects, works, reports."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from camlink.errors import CamlinkError, Closed, InputError, OperatorFailed, PeerLost, SourceSilent, StorageError
from camlink.runtime.control import Line
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
    Lose,
    Message,
    Parted,
    Progress,
    Ready,
    Renew,
    Save,
    SetAside,
    Stop,
    WorkerSpec,
)
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.ends import Ends
from camlink.runtime.work.flow import given_up
from camlink.runtime.work.hand import Hand
from camlink.runtime.work.host import Host
from camlink.runtime.work.last_words import read_last_words, write_last_words
from camlink.runtime.work.pulse import Pulse
from camlink.runtime.work.work import Work, write_trace
from camlink.workflow.operator import FactValue, Operator
from camlink.workflow.parameter import build

NO_WORD_S: Final = 300.0  # longer than the master waits for others: one may compile for minutes


class Worker:
    """Runs one attempt at one replica of one operator from launch to its last acknowledged block."""

    def __init__(self, spec: WorkerSpec, host: Host) -> None:
        self.spec, self.host = spec, host
        self.ends = Ends(spec, host)
        self.abandoned = False
        self.ended = False
        self.orphaned = False
        self.stopping = threading.Event()
        self.listened = {link.name for link in spec.outputs}
        self.pulse = Pulse()
        self.context = WorkerContext(spec, host.screen, self.stopping.is_set, self.pulse)
        self.hand: Hand | None = None
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
            if self.orphaned:
                self.save()
            self.ends.close(well=well)
            if self.work is not None:
                self.work.close(well=well)
            if self.hand is not None:
                self.hand.close()
            self.context.close(well=well)
            self.line.close()

    def prepare(self) -> Work:
        """Load the operator, bind what goes out, connect what comes in; returns at Go."""
        self.hand = None if self.spec.kind == "source" else Hand(self.spec)
        operator = load(self.spec, self.host.operators)
        parameters = build(operator.parameters, self.spec.parameters, self.spec.operator)
        if operator.prepare is not None and not self.spec.attempt:  # what was compiled for the first is there
            operator.prepare(parameters)
        if self.spec.passage:
            self.host.cross(self.spec.passage)
        body = operator.make(parameters, self.context)
        work = Work(self.spec, operator, body, self.hand, self.pulse, self.look, self.part, self.context)
        addresses = self.ends.bind()
        work.open(self.ends.outlets)
        self.ends.inboxes, self.ends.outboxes = work.inboxes, work.outboxes
        if work.outboxes:
            self.context.room = next(iter(work.outboxes.values())).room
        self.work = work
        self.say(Ready, pid=os.getpid(), addresses=addresses)
        waiting = dict(self.ends.outlets)
        deadline = time.monotonic() + NO_WORD_S
        while True:
            for name, outlet in sorted(waiting.items()):
                outlet.pump()
                if outlet.ready:
                    del waiting[name]
                    self.say(Linked, link=name)
            inlets = list(self.ends.inlets)
            for inlet in inlets:
                inlet.pump()
            message = self.line.hear(0.005 if waiting or inlets else 0.2)
            if isinstance(message, Go):
                return work
            if message is not None:
                self.obey(message)
                deadline = time.monotonic() + NO_WORD_S
            if time.monotonic() > deadline:
                raise PeerLost(f"{self.spec.operator}: no word from the master for {NO_WORD_S:g} s before the start")

    def obey(self, message: Message | None) -> None:
        """Do what the master says; Go is not for here."""
        if isinstance(message, Connect):
            self.ends.connect(message)
        elif isinstance(message, Detach | Lose | Expect | Cut):
            self.ends.obey(message)
        elif isinstance(message, SetAside) and self.work is not None:
            for porter in self.work.porters.values():
                porter.set_aside[message.key] = message.reason
        elif isinstance(message, Change) and self.work is not None:
            self.work.change(message.parameters)
        elif isinstance(message, Leave) and self.work is not None:
            self.work.leaving = True
        elif isinstance(message, Kill):
            self.abandoned = True
            self.stopping.set()
        if self.abandoned or self.orphaned:
            raise given_up("its master is gone" if self.orphaned else "asked by the master")

    def arrived(self, message: Message) -> None:
        """Seen as soon as it arrives: a pause, what was set, and to stop when asked or when nobody listens any more."""
        if isinstance(message, Hold):
            self.context.hold(message.held)
        if isinstance(message, Change):
            self.context.wanted = message.parameters
        if isinstance(message, Detach):
            self.listened.discard(message.link)
        if isinstance(message, Renew) and self.spec.passage:
            self.host.cross(message.passage)
        if isinstance(message, Save):
            self.orphaned = True
        if isinstance(message, Stop | Save) or (isinstance(message, Detach) and not self.listened):
            self.stopping.set()

    def look(self) -> None:
        """Between two waits: obey what came in meanwhile."""
        while (message := self.line.hear(0)) is not None or self.orphaned:
            self.obey(message)

    def save(self) -> None:
        """Nobody delivers any more what the links keep: `camlink recover` finds it on the disk."""
        try:
            self.ends.save()
        except StorageError as error:
            write_trace(self.spec, error)  # nobody else is left to be told

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
        return {
            **self.spec.who,
            "facts": {**self.facts(), **({"control_refused": self.line.refused} if self.line.refused else {})},
            "sent": self.ends.sent(), "received": self.ends.received(),
            **(self.work.tell() if self.work is not None else {}),
        }

    def facts(self) -> dict[str, FactValue]:
        """What the operator told, and the scan that it works on."""
        boxes = self.work.outboxes.values() if self.work is not None else ()
        scan = next((box.scan for box in boxes if box.scan), "")
        given = {GIVEN_BEFORE: len(self.context.given)} if self.context.given else {}
        ports = self.work.facts() if self.work is not None else {}
        told = {**given, **ports, **self.context.work, **self.context.trouble, **self.context.facts}
        if "warnings" in ports and "warnings" in self.context.facts:
            told["warnings"] = [*ports["warnings"], *_listed(self.context.facts["warnings"])]
        return {**({"scan": scan} if scan else {}), **told}

    def say(self, kind: type[Message], **more: Any) -> None:
        """Send one message to the master."""
        self.line.say(kind(**(self.state() if issubclass(kind, Progress) else self.spec.who), **more))

    def fail(self, error: Exception) -> None:
        """Tell the master what was raised and where; the trace goes to the log of this worker."""
        write_trace(self.spec, error)
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = str(error) or type(error).__name__
        if not isinstance(error, CamlinkError):
            text = f"{type(error).__name__}: {text}"
        text = text.encode("utf8", "backslashreplace").decode()  # a name of a file may be no text
        self.say(Failed, error=type(error).__name__, text=text, place=place, input=isinstance(error, InputError),
                 final=isinstance(error, InputError | StorageError | OperatorFailed | SourceSilent) or _is_full(error),
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
        raise InputError(f"operator '{spec.operator}': cannot load {spec.where} in a process of its own on "
                         f"{socket.gethostname()} ({error}); put its module, as one file, beside the workflow file, "
                         "or install its package there") from None
    if not isinstance(found, Operator):
        raise InputError(f"operator '{spec.operator}': {spec.where} is a {type(found).__name__}, not an operator")
    return found
