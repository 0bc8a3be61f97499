"""From a checked workflow to workers and links: who hosts what, and which kind each link is."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.errors import WorkflowError
from camlink.runtime.crew import WorkerState
from camlink.runtime.hosting import HAS_MEMFD, machine_of
from camlink.runtime.messages import REPLICA_SEQUENCES, LinkSpec, WorkerSpec
from camlink.runtime.orders import scalable
from camlink.runtime.place.job import QUEUED
from camlink.runtime.states import RunState
from camlink.runtime.succession import Succession
from camlink.workflow.check import MASTER, Checked, Link
from camlink.workflow.graph import Node, Site
from camlink.workflow.operator import Kind, Operator

MARGIN_S: Final = 300.0
STREAM_S: Final = 300.0
BLOCK_S: Final = 30.0
WAIT_S: Final = {**dict.fromkeys(QUEUED, 3600.0), "join": 600.0}
FAR_WAIT_S: Final = 30.0


def lay_out(checked: Checked, folder: Path, sockets: Path, provenance: dict[str, str]) -> RunState:
    """The state of a run before its beginning; who hosts whom is settled when all agents are there."""
    used = {host for name in checked.operators for host in checked.hosts(name)}
    sites = {agent: site for site in checked.workflow.sites.values() for agent in site.names if agent in used}
    far = frozenset(agent for agent, site in sites.items() if site.far)
    links = {link.name: _link(checked, link, far) for link in checked.links}
    workers = {}
    for name, operator in checked.operators.items():
        node, hosts = checked.workflow.nodes[name], checked.hosts(name)
        for replica in range(node.replicas):
            spec = WorkerSpec(
                operator=name, replica=replica, where=operator.where, kind=str(operator.kind),
                resumes=operator.resumes, scalable=name in scalable(checked), patience_s=_patience_s(node, operator),
                parameters=msgspec.to_builtins(checked.parameters[name]),
                inputs=tuple(link for link in links.values() if link.target == name),
                outputs=tuple(link for link in links.values() if link.source == name),
                folder=str(folder), sockets=str(sockets), provenance=provenance, needs=checked.needs[name], hosts=hosts,
                site=node.at, first_sequence=replica * REPLICA_SEQUENCES, join=node.join,
                order_wait_s=_order_wait_s(checked, name))
            workers[name, replica] = WorkerState(spec, hosts[0], killable=hosts != (MASTER,))
    agents = {agent: site.name for agent, site in sites.items()} | ({MASTER: ""} if MASTER in used else {})
    queue_s = max((_wait_s(sites[agent]) for agent in far), default=0.0)
    margins = {agent: _margin_s(site) for agent, site in sites.items()
               if site.placer in (*QUEUED, "join") or "walltime_s" in site.options}
    return RunState(workers, links, agents=agents, far=far, queue_s=queue_s, succession=Succession(margins))


def _link(checked: Checked, link: Link, far: frozenset[str]) -> LinkSpec:
    return LinkSpec(
        name=link.name, source=link.source, target=link.target, output=link.output.name, input=link.input.name,
        kind=_kind(checked, link, far), policy=link.policy,
        limit_bytes=DEFAULT_LIMIT_BYTES * (2 if checked.ordered(link.target) else 1),
        turns=link.name in checked.turns, receivers=checked.workflow.nodes[link.target].replicas,
        block=link.output.block.__name__)


def _kind(checked: Checked, link: Link, far: frozenset[str]) -> Literal["memory", "shm", "zmq", "far"]:
    """How the blocks of a link travel: inside this process, through shared memory of this host, or by socket.

    Raises WorkflowError when the workflow asks for a kind that cannot be.
    """
    hosts = {*checked.hosts(link.source), *checked.hosts(link.target)}
    together = hosts == {MASTER}
    here = HAS_MEMFD and not hosts & far
    if len({machine_of(host, far) for host in hosts}) > 1:
        if link.kind:
            raise WorkflowError([f"link {link.name}: its ends may be on two machines; leave `link:` out"],
                                checked.workflow.name)
        return "far"
    if (link.kind == "memory" and not together) or (link.kind == "shm" and not here):
        reach = "inside one process (`placer: inline`)" if link.kind == "memory" else "on one host with Linux"
        raise WorkflowError([f"link {link.name}: a link of kind '{link.kind}' works only {reach}; leave `link:` out, "
                             "or use zmq"], checked.workflow.name)
    return link.kind or ("memory" if together else "shm" if here else "zmq")


def _patience_s(node: Node, operator: Operator) -> float:
    """For how long the code of an operator may work without a word; a view lives in the process of the master."""
    if operator.kind is Kind.VIEW:
        return 0.0
    return node.patience_s or (STREAM_S if operator.streams else BLOCK_S)


def _order_wait_s(checked: Checked, name: str) -> float:
    """For how long an operator waits for a block of which nobody tells; 0 when it does not ask for order.

    A replica may hang on the block twice, and be replaced each time.
    """
    if not checked.ordered(name):
        return 0.0
    longest_s = max((_patience_s(checked.workflow.nodes[one], checked.operators[one])
                     for one in checked.before(name)), default=0.0)
    return 3 * longest_s + FAR_WAIT_S


def _margin_s(site: Site) -> float:
    """How long before the time of an agent ends its successor is asked for."""
    said = site.options.get("margin_s")
    return float(said) if isinstance(said, int | float) else MARGIN_S


def _wait_s(site: Site) -> float:
    """For how long an agent may come later than one of this machine; what is no number its placer refuses."""
    said = site.options.get("wait_s")
    return float(said) if isinstance(said, int | float) else WAIT_S.get(site.placer, FAR_WAIT_S)

