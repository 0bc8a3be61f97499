"""Ends: the links of one worker; bound, connected, cut and let go of as the master says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from camlink.block import Void
from camlink.carry.account import Snapshot, merge
from camlink.carry.disk.spill import Spill
from camlink.carry.disk.spilling import SpillingOutlet, save
from camlink.carry.link import Inlet, Outlet
from camlink.errors import PeerLost
from camlink.policy import read_policy
from camlink.runtime.messages import Connect, Cut, Detach, Expect, Lose, WorkerSpec
from camlink.runtime.work.flow import Inbox, Outbox
from camlink.runtime.work.host import Host

SPILL: Final = "spill"


class Ends:
    """The outgoing ends by link, and the incoming ones by link and address of their sender.

    `inboxes` and `outboxes` are the ports behind them, once there are some.
    """

    def __init__(self, spec: WorkerSpec, host: Host) -> None:
        self._spec, self._host = spec, host
        self.outlets: dict[str, Outlet] = {}
        self.inboxes: Mapping[str, Inbox] = {}
        self.outboxes: Mapping[str, Outbox] = {}
        self._inlets: dict[str, dict[str, Inlet]] = {}
        self._missed: dict[str, set[str]] = {}
        self._awaited: dict[str, int] = {}

    @property
    def inlets(self) -> Iterator[Inlet]:
        """All that come in."""
        return (inlet for ends in list(self._inlets.values()) for inlet in list(ends.values()))

    def bind(self) -> dict[str, str]:
        """Bind every outgoing link; the addresses where receivers find them."""
        name = self._spec.line.replace("/", "-")
        for number, link in enumerate(self._spec.outputs):
            self.outlets[link.name] = self._host.bind(link, f"{self._spec.sockets}/{name}-{number}",
                                                      spill_path(self._spec, number))
        return {name: outlet.address for name, outlet in self.outlets.items()}

    def connect(self, message: Connect) -> None:
        """Connect an incoming link to its senders; one that is gone ends with what had come of it."""
        ends = self._inlets.setdefault(message.link, {})
        inbox = self._inbox(message.link)
        if inbox.complete:
            return
        missed = self._missed.setdefault(message.link, set())
        for address in message.addresses:
            if address in ends:
                continue
            try:
                ends[address] = self._host.connect(address, message.link, self._spec.identity, self._spec.attempt,
                                                   Path(self._spec.sockets), message.led.get(address, ()))
            except PeerLost:
                missed.add(address)  # it died meanwhile; the master tells of its next attempt, or that there is none
            else:
                inbox.add(ends[address], address)
        self._awaited[message.link] = message.awaited
        for address in message.gone:
            self._cut(message.link, address)
        inbox.awaited[message.link] = message.awaited + len(missed)

    def obey(self, message: Detach | Lose | Expect | Cut) -> None:
        """What becomes of the receivers of an outgoing link, or of the sender of an incoming one."""
        if isinstance(message, Cut):
            self._cut(message.link, message.address)
        elif (outlet := self.outlets.get(message.link)) is None:
            return
        elif isinstance(message, Detach):
            outlet.detach(message.reason)
        elif isinstance(message, Lose):
            outlet.lose(message.receiver, message.reason, message.attempt)
        else:
            outlet.expect(message.receivers)

    def sent(self) -> dict[str, Snapshot]:
        """The accounts of the outgoing links."""
        return {name: outlet.account.snapshot() for name, outlet in list(self.outlets.items())}

    def received(self) -> dict[str, Snapshot]:
        """The accounts of the incoming links, all senders together."""
        return {name: merge([inlet.account.snapshot() for inlet in list(ends.values())])
                for name, ends in list(self._inlets.items())}

    def save(self) -> None:
        """Put on the disk what the outgoing links keep and what they had no room for; raises StorageError."""
        for number, link in enumerate(self._spec.outputs):
            outlet = self.outlets.get(link.name)
            if outlet is None or not read_policy(link.policy).lossless:
                continue
            late = [box.unsent[0] for box in self.outboxes.values() if box.unsent and outlet in box.unsent[1]]
            blocks = [block for block in (*outlet.kept, *late) if not isinstance(block, Void)]
            if isinstance(outlet, SpillingOutlet):
                outlet.save(blocks)
            elif blocks:
                spill = Spill(spill_path(self._spec, number))
                save(spill, blocks)
                spill.close(keep=True)

    def close(self, *, well: bool) -> None:
        """Let go of all ends; what was not acknowledged is given back or lost, unless the worker ended `well`.

        Then nobody needs what an earlier attempt has saved.
        """
        for inlet in self.inlets:
            inlet.abandon()
        for outlet in self.outlets.values():
            outlet.close()
        for number in range(len(self._spec.outputs) if well and self._spec.attempt else 0):
            spill_path(self._spec, number).unlink(missing_ok=True)

    def _cut(self, link: str, address: str) -> None:
        """A sender is gone: the stream ends with what had come of it."""
        missed, ends = self._missed.get(link, set()), self._inlets.get(link, {})
        if address in ends:
            ends[address].cut()
        if address in missed:
            missed.discard(address)
            self._inbox(link).awaited[link] = self._awaited.get(link, 0) + len(missed)

    def _inbox(self, link: str) -> Inbox:
        return self.inboxes[next(spec.input for spec in self._spec.inputs if spec.name == link)]


def spill_path(spec: WorkerSpec, number: int) -> Path:
    """The file where blocks of the outgoing link `number` of a worker wait on disk."""
    return Path(spec.folder) / SPILL / f"{spec.operator}-{spec.replica}-{number}"
