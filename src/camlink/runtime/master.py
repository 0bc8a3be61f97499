"""Master: the event loop of a run; feeds the state machine, does what it says, and reports. A thin shell."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import zmq
from msgspec.structs import replace

from camlink.carry.far.door import Refusals
from camlink.clock import now_s
from camlink.errors import CamlinkError, InputError, StorageError, WireError
from camlink.runtime.cluster.clusters import Clusters
from camlink.runtime.events import AgentLost, Begin, Cancel, EndAgent, Order, Over, Placed, Send, StartAgent, Tick
from camlink.runtime.layout import lay_out
from camlink.runtime.load import Load
from camlink.runtime.log import EVENTS, EventLog
from camlink.runtime.messages import (
    MAX_CONTROL_BYTES,
    Beat,
    ClusterUp,
    Connect,
    Dashboard,
    Exited,
    FromWorker,
    JoinCluster,
    Joined,
    Launch,
    Message,
    Progress,
    Renew,
    StartScheduler,
    decode,
    encode,
)
from camlink.runtime.nursery import Birth
from camlink.runtime.orders import choices_of, examine
from camlink.runtime.place.births import Births
from camlink.runtime.place.inline import InlinePlacer
from camlink.runtime.place.placers import make_placer
from camlink.runtime.reach.harbour import open_harbour
from camlink.runtime.reach.leads import Leads
from camlink.runtime.reach.luggage import pack
from camlink.runtime.reach.refused import tell
from camlink.runtime.report import Report, make_report
from camlink.runtime.rundir import NURSERY_LOG, make_run_folder, make_socket_folder, remove_unused
from camlink.runtime.status import RunStatus
from camlink.runtime.watch import Watch
from camlink.runtime.work.host import Host, NoScreen
from camlink.workflow.check import MASTER, Checked
from camlink.workflow.operator import Screen

TICK_S: Final = 0.1
LOG_S: Final = 0.9


class Placer(Protocol):
    """How an agent gets onto a site."""

    def start(self, master: str) -> None:
        """Start the agent; it dials the master's address."""
        ...

    def lost(self) -> str:
        """Why the agent is gone, or nothing while it runs."""
        ...

    def news(self, *, last: bool = False) -> list[Message]:
        """Events since the last call: what there is to say of an agent that has not come, who was turned away."""
        ...

    def kill(self) -> None:
        """End it now, if it can be ended."""
        ...

    def close(self) -> bool:
        """See that nothing of it is left, in bounded time; False when something could not be ended."""
        ...


class Master:
    """One run of a checked workflow; `run()` returns its report, `cancel()` may come from any thread.

    A `new` folder was made for it, and goes when it never began.
    """

    def __init__(self, checked: Checked, folder: Path, *, provenance: Mapping[str, str], sockets: Path,
                 screen: Screen | None, watch: Callable[[RunStatus], None], new: bool = False) -> None:
        self._checked, self._folder, self._show = checked, folder, watch
        self._provenance = dict(provenance)
        self.status: RunStatus | None = None
        self._new = new or not os.path.isdir(folder)
        self._placers: dict[str, Placer] = {}
        self._leads = Leads(self._placers)
        self._births: Births | None = None
        self._asked: list[Message] = []
        self._watch = Watch(checked.workflow.name, {n.name: n.use for n in checked.workflow.nodes.values()})
        self._load = Load({n.name: n.elastic for n in checked.workflow.nodes.values() if n.elastic})
        self._logged: dict[tuple[str, int], float] = {}
        self._over, self._refusals = False, Refusals()
        with ExitStack() as made:  # who cannot begin leaves nothing behind
            made.callback(remove_unused, folder, new=self._new)
            make_run_folder(folder)
            self._sockets = make_socket_folder(sockets)
            made.callback(shutil.rmtree, self._sockets, ignore_errors=True)
            self._context: zmq.Context[Any] = zmq.Context()
            made.callback(self._context.destroy, linger=0)
            self._control, self._local = self._listening()
            self._host = Host(self._context, f"inproc://agent-{id(self._context):x}", operators=checked.operators,
                              screen=screen or NoScreen())
            self._clusters = Clusters(checked.workflow.sites, self._sockets, folder.name)
            self.state, self._luggage = lay_out(checked, folder, self._sockets, self._provenance), pack(checked)
            self._harbour = open_harbour(checked.workflow, self._sockets.name)  # folders may be named alike
            if self._harbour is not None:
                made.callback(self._harbour.close)
            self._log = EventLog(folder / EVENTS)
            made.pop_all()

    def _listening(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """Where agents beside this process dial, and the agent in it, which dials in memory."""
        control, local = self._context.socket(zmq.ROUTER), self._context.socket(zmq.ROUTER)
        control.setsockopt(zmq.LINGER, 2000)
        control.setsockopt(zmq.MAXMSGSIZE, MAX_CONTROL_BYTES)
        try:
            control.bind(f"ipc://{self._sockets}/master")
        except zmq.ZMQError as error:
            raise InputError(f"cannot listen in {self._sockets}: {error}; set XDG_RUNTIME_DIR to a folder of yours "
                             "with a short name") from None
        local.bind(f"inproc://master-{secrets.token_hex(8)}")
        return control, local

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return self._folder

    def cancel(self, reason: str, *, force: bool = False) -> None:
        """Ask for the end: sources stop and the rest drains; with `force` everything is killed."""
        self._asked.append(Cancel(reason=reason, force=force))

    def order(self, order: Order) -> None:
        """Ask for something while the run goes on; raises InputError for what its operators cannot do."""
        examine(order, self._checked, self.state.phase)
        self._asked.append(order)

    @property
    def choices(self) -> dict[str, Any]:
        """What orders may be about in this run."""
        return choices_of(self._checked)

    @property
    def dashboards(self) -> Mapping[str, Dashboard]:
        """Where Dask's pages of the clusters are, by site."""
        return self._clusters.dashboards

    def run(self) -> Report:
        """Run to the end; leaves no process and no socket behind, whatever happens."""
        try:
            poller = zmq.Poller()
            for socket in (self._control, self._local):
                poller.register(socket, zmq.POLLIN)
            self.warm()
            if self._births is not None:
                poller.register(self._births.alarm, zmq.POLLIN)
            self._handle(self._begin())
            shown = 0.0
            while not self._over:
                ready = dict(poller.poll(int(TICK_S * 1000)))
                for socket in (self._control, self._local):
                    if socket in ready:
                        self._listen(socket)
                self._look_around()
                if time.monotonic() - shown > TICK_S:
                    self._tell()
                    shown = time.monotonic()
            self._hear_news(last=True)
            return make_report(self._tell(), self.state, self._folder, self._provenance)
        finally:
            self.close()

    def warm(self) -> None:
        """Start the process that agents of this machine are forked from, which imports what their workers need.

        `run` does it too; who has something to do before that wins the time.
        """
        sites = self._checked.workflow.sites
        here = {agent for agent, site in self.state.agents.items() if site and sites[site].placer == "local"}
        if here and self._births is None:
            self._births = Births(self._folder / "log" / NURSERY_LOG, here=False)
            for worker in self.state.workers.values():
                if here & {worker.site, *worker.spec.hosts}:
                    self._births.ask(Birth(worker.spec.where, where=worker.spec.where))

    def _tell(self) -> RunStatus:
        self.status = self._watch.status(self.state, now_s())
        self._asked += self._load.look(self.status, now_s())
        self._show(self.status)
        return self.status

    def _begin(self) -> Begin:
        workers = tuple(Placed(w.spec, w.site, w.killable) for w in self.state.workers.values())
        workflow = self._checked.workflow
        return Begin(workflow=workflow.name, uses={n.name: n.use for n in workflow.nodes.values()}, workers=workers,
                     links=tuple(self.state.links.values()), agents=self.state.agents, far=self.state.far,
                     queue_s=self.state.queue_s, margins=self.state.succession.margins)

    def _listen(self, socket: zmq.Socket[bytes]) -> None:
        while True:
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = decode(parts[-1])
            except WireError:
                message = None
            agent = parts[0].decode("utf8", "replace")
            if not self._may_say(agent, message):
                self._refusals.add(agent[:80], "it said what is no message, or not its own")
                continue
            if isinstance(message, Joined | ClusterUp):
                self._help(message)
            if not isinstance(message, ClusterUp):
                self._handle(message)

    def _may_say(self, agent: str, message: Any) -> bool:
        """Whether an agent speaks for itself, or for a worker that it has: no site speaks for another."""
        if isinstance(message, FromWorker | Exited):
            worker = self.state.workers.get((message.operator, message.replica))
            return worker is None or worker.site == agent or worker.spec.attempt != message.attempt
        return isinstance(message, Joined | Beat | ClusterUp) and message.site == agent

    def _look_around(self) -> None:
        while self._asked:
            self._handle(self._asked.pop(0))
        self._hear_news()
        if self._harbour is not None and self._harbour.renew():
            for site in self._placers:
                self._send(site, "", Renew(passage=self._harbour.passage))
        self._say_of_clusters(self._clusters.renew())
        if self._births is not None:
            self._births.look()
        for site, placer in list(self._placers.items()):
            if text := placer.lost():
                del self._placers[site]
                placer.close()
                self._say_of_clusters(self._clusters.lost(site))
                self._handle(AgentLost(site=site, text=text))
        self._handle(Tick())

    def _hear_news(self, *, last: bool = False) -> None:
        news = [event for placer in self._placers.values() for event in placer.news(last=last)]
        news += self._harbour.news(last=last) if self._harbour is not None else []
        for event in news + tell(self._refusals, "the control network", last=last):
            self._handle(event)

    def _help(self, message: Joined | ClusterUp) -> None:
        """Give an agent its luggage; bring up the clusters of sites that want one, beside the steps of the run."""
        site = self.state.agents.get(message.site, "")
        if isinstance(message, Joined) and site in self._luggage:
            self._send(message.site, "", self._luggage[site])
        sent = self._clusters.joined(message, site) if isinstance(message, Joined) else self._clusters.up(message, site)
        self._say_of_clusters(sent)

    def _say_of_clusters(self, sent: Iterable[tuple[str, StartScheduler | JoinCluster]]) -> None:
        """Tell agents of clusters; one on another machine shows its dashboard at the relay, and we see it there."""
        for agent, message in sent:
            if isinstance(message, StartScheduler) and self._harbour is not None and agent in self.state.far:
                message = self._harbour.see(agent, message)
            self._send(agent, "", message)

    def _handle(self, event: Message) -> None:
        at = now_s()
        instructions = self.state.handle(event, at)
        if instructions or self._worth_logging(event, at):
            self._write_log(event, at)
        for instruction in instructions:
            self._do(instruction)

    def _write_log(self, event: Message, at: float) -> None:
        """A log that cannot be written does not end a scan; it is said once, and the verdict is degraded."""
        try:
            self._log.write(event, at)
        except StorageError as error:
            if not self.state.notes:
                self.state.notes.append(str(error))

    def _worth_logging(self, event: Message, at: float) -> bool:
        """Every event but ticks without consequence; mere heartbeats once a second for each worker and agent."""
        if isinstance(event, Beat):
            who = (event.site, -1)
        elif isinstance(event, Progress) and type(event) is Progress:
            who = (event.operator, event.replica)
        else:
            return not isinstance(event, Tick)
        due = at - self._logged.get(who, 0.0) >= LOG_S
        if due:
            self._logged[who] = at
        return due

    def _do(self, instruction: Any) -> None:
        if isinstance(instruction, StartAgent):
            self._start(instruction.site)
        elif isinstance(instruction, Send):
            message = instruction.message
            if isinstance(message, Launch):
                message = self._clusters.complete(message, self.state.agents.get(instruction.site, ""))
                if self._harbour is not None:
                    message = replace(message, spec=replace(message.spec, passage=self._harbour.passage))
            if isinstance(message, Connect) and self._harbour is not None:
                hosts = {address: w.site for w in self.state.workers.values() for address in w.addresses.values()}
                message = self._leads.complete(message, instruction.site, hosts, self.state.far)
            self._send(instruction.site, instruction.worker, message)
        elif isinstance(instruction, EndAgent) and instruction.site in self._placers:
            self._placers[instruction.site].kill()
        elif isinstance(instruction, Over):
            self._over = True

    def _send(self, agent: str, worker: str, message: Message) -> None:
        socket = self._local if agent == MASTER else self._control
        socket.send_multipart([agent.encode(), worker.encode(), encode(message)])

    def _start(self, site: str) -> None:
        if site == MASTER:
            placer: Placer = InlinePlacer(site, self._host)
            address = self._local.getsockopt_string(zmq.LAST_ENDPOINT)
        else:
            where = self._checked.workflow.sites[self.state.agents[site]]
            port = self._harbour.port if self._harbour else 0
            placer = make_placer(site, where, self._sockets, self._folder, self._births, port)
            address = self._control.getsockopt_string(zmq.LAST_ENDPOINT)
        self._placers[site] = placer
        try:
            placer.start(address)
        except CamlinkError as error:
            if self.state.phase == "resources":
                raise
            self._placers.pop(site).close()
            self._asked.append(AgentLost(site=site, text=f"the agent of site '{site}' could not be placed: {error}"))

    def close(self) -> None:
        """Leave nothing behind; `run` does it at its end, so this is for a master that never ran.

        What cannot be closed keeps nothing else open: its error goes on when all the rest is done.
        """
        if self.status is None and not (log := self._folder / EVENTS).stat().st_size:
            log.unlink()
        with ThreadPoolExecutor(len(self._placers) + 1) as pool:  # each may wait for a machine of its own
            closing = [pool.submit(placer.close) for placer in self._placers.values()]
        with ExitStack() as rest:  # from the last to the first
            rest.callback(remove_unused, self._folder, new=self._new)
            rest.callback(shutil.rmtree, self._sockets, ignore_errors=True)
            if all(one.exception() or one.result() for one in closing):  # else a thread still has sockets
                rest.callback(self._context.destroy, linger=0)
            if self._harbour is not None:
                rest.callback(self._harbour.close)
            if self._host.crossing is not None:
                rest.callback(self._host.crossing.close)
                rest.callback(self._host.crossing.close_admission)
            rest.callback(self._local.close)
            rest.callback(self._control.close)
            for words in (self._folder / "log").glob("*.done"):
                rest.callback(words.unlink)
            rest.callback(self._log.close)
            if self._births is not None:
                rest.callback(self._births.close)
            for one in closing:
                rest.callback(one.result)
