"""ClusterSide: what an agent does for the cluster of its site: starts processes, and others for those that are gone.

A process that says nothing for SILENT_S (killed, stopped, or held up by its work) is ended, and its work goes to
others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from camlink.carry.far.crossing import Passage
from camlink.carry.far.gate import OfferGate
from camlink.carry.far.keys import write_private
from camlink.errors import StorageError
from camlink.runtime.cluster.certificates import Pass
from camlink.runtime.cluster.client import SILENT_S, START_S, Entrance
from camlink.runtime.cluster.process import Part
from camlink.runtime.messages import ClusterUp, Inventory, JoinCluster, StartScheduler
from camlink.runtime.reach.dial import pages_of
from camlink.workflow.needs import ANY

LOOPBACK: Final = "127.0.0.1"
PAUSE_S: Final = 1.0
KILLED_S: Final = 0.5


def entrance_of(sockets: Path, site: str) -> Path:
    """The file that leads operators to the cluster of a site."""
    return sockets / f"cluster-{site}"


class _Child:
    """A process of the cluster."""

    def __init__(self, part: Part) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "camlink.runtime.cluster.process", "worker" if part.address else "scheduler",
             str(os.getpid())], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError), self.process.stdin as pipe:
            pipe.write(msgspec.msgpack.encode(part))
        self._out = self.process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._said = b""
        self._heard_s = time.monotonic()

    @property
    def address(self) -> str:
        """Where it listens, once it has said so."""
        return self._said.partition(b"\n")[0].decode() if b"\n" in self._said else ""

    def is_gone(self) -> bool:
        """Whether it has ended, or was silent for so long that it has to."""
        said = self._out.read(4096) if self.process.poll() is None else b""
        if said:
            self._said = (self._said + said)[:200]
            self._heard_s = time.monotonic()
        silent_s = time.monotonic() - self._heard_s
        return self.process.poll() is not None or silent_s > (SILENT_S if self.address else START_S)

    def end(self) -> None:
        """End it now: it has nothing to keep, and nobody may wait for it."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a disk ends when that comes back
            self.process.wait(KILLED_S)
        self._out.close()


class ClusterSide:
    """The cluster's processes at one agent; `look` is called again and again by the loop of the agent."""

    def __init__(self, agent: str, sockets: Path, has: Inventory, relay: str = "") -> None:
        self._agent, self._sockets, self._has, self._relay = agent, sockets, has, relay
        self._start: StartScheduler | None = None
        self._join: JoinCluster | None = None
        self._scheduler: _Child | None = None
        self._workers: list[_Child] = []
        self._gate: OfferGate | None = None
        self._told = ""
        self._next_s = 0.0

    def obey(self, message: StartScheduler | JoinCluster) -> None:
        """Start the scheduler of the site, or workers that belong to it; of those that are there, renew the passes."""
        self._keep(self._agent, message.own)
        if isinstance(message, StartScheduler):
            self._start = message
            if self._scheduler is None:
                self._scheduler = self._schedule(message)
            self._offer(message)
            return
        before, self._join = self._join, message
        own = self._keep(message.cluster, message.client)
        if before is not None and before.address == message.address:
            return
        write_private(entrance_of(self._sockets, message.cluster),
                      msgspec.msgpack.encode(Entrance(message.address, message.client.authority, str(own))))
        for worker in self._workers:  # of a scheduler that is gone
            worker.end()
        self._workers = [self._hire(message) for _ in range(message.workers or self._has.cores)]

    def look(self) -> ClusterUp | None:
        """Replace who is gone; what the master has to know: where the scheduler is."""
        if self._start is not None and self._scheduler is not None and self._scheduler.is_gone():
            self._scheduler.end()
            self._scheduler = self._schedule(self._start)
        if self._join is not None and time.monotonic() > self._next_s:
            for number, worker in enumerate(self._workers):
                if worker.is_gone():
                    worker.end()
                    self._workers[number] = self._hire(self._join)
                    self._next_s = time.monotonic() + PAUSE_S
        address = self._scheduler.address if self._scheduler is not None else ""
        if not address or address == self._told:
            return None
        self._told = address
        return ClusterUp(site=self._agent, address=address)

    def close(self) -> None:
        """End everything here."""
        for child in (*self._workers, *([self._scheduler] if self._scheduler is not None else [])):
            child.end()
        self._workers, self._scheduler = [], None
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    def _schedule(self, start: StartScheduler) -> _Child:
        dashboard = replace(start.dashboard, socket=self._pages(start))
        return _Child(replace(self._part("", start.own, start.listen), dashboard=dashboard))

    def _pages(self, start: StartScheduler) -> str:
        """The socket of the dashboard: its folder is that of the run on this machine."""
        return str(self._sockets / Path(start.dashboard.socket).name) if start.dashboard.socket else ""

    def _offer(self, start: StartScheduler) -> None:
        """Lead who calls the lane of our dashboard there, by the newest ticket."""
        if not start.passage:
            return
        offer = Passage.opened(start.passage).offer
        ticket = replace(offer, address=self._relay or offer.address)
        if self._gate is None:
            self._gate = OfferGate(ticket, pages_of(self._agent), self._pages(start))
        self._gate.ticket = ticket

    def _hire(self, join: JoinCluster) -> _Child:
        return _Child(self._part(join.address, join.own, join.listen))

    def _file(self, whose: str, held: Pass) -> Path:
        """Where a pass is for handshakes, of this agent or of all operators of a site."""
        return self._sockets / f"dask-{whose}-{held.role}"

    def _keep(self, whose: str, held: Pass) -> Path:
        path = self._file(whose, held)
        with suppress(StorageError) if path.exists() else nullcontext():  # the one before holds until others come
            write_private(path, held.pem)
        return path

    def _part(self, address: str, own: Pass, listen: str) -> Part:
        host = next(iter(self._has.network), LOOPBACK) if listen == ANY else listen or LOOPBACK
        return Part(host, address, own.authority, str(self._file(self._agent, own)), str(self._sockets),
                    self._has.memory_bytes // max(self._has.cores, 1))
