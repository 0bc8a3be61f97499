"""From a checked workflow to workers and links: who hosts what, and which kind each link is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.errors import WorkflowError
from camlink.runtime.crew import REPLICA_SEQUENCES, WorkerState
from camlink.runtime.messages import LinkSpec, WorkerSpec
from camlink.runtime.states import RunState
from camlink.workflow.check import Checked, Link
from camlink.workflow.graph import Site
from camlink.workflow.operator import Kind

MASTER: Final = "master"
WAIT_S: Final = {"slurm": 3600.0}  # in a queue
FAR_WAIT_S: Final = 30.0
_ON_THIS_HOST: Final = ("inline", "local")


def site_of(checked: Checked, operator: str) -> str:
    """The site whose agent hosts an operator: a view lives with the master, where the page is; so does `inline`."""
    node = checked.workflow.nodes[operator]
    inline = checked.workflow.sites[node.at].placer == "inline"
    return MASTER if inline or checked.operators[operator].kind is Kind.VIEW else node.at


def lay_out(checked: Checked, folder: Path, sockets: Path, provenance: dict[str, str],
            passage: bytes = b"") -> RunState:
    """The state of a run before its beginning."""
    links = {link.name: _link(checked, link) for link in checked.links}
    workers = {}
    for name, operator in checked.operators.items():
        for replica in range(checked.workflow.nodes[name].replicas):
            spec = WorkerSpec(
                operator=name, replica=replica, where=operator.where, kind=str(operator.kind),
                parameters=msgspec.to_builtins(checked.parameters[name]),
                inputs=tuple(link for link in links.values() if link.target == name),
                outputs=tuple(link for link in links.values() if link.source == name),
                folder=str(folder), sockets=str(sockets), provenance=provenance,
                site=checked.workflow.nodes[name].at, first_sequence=replica * REPLICA_SEQUENCES, passage=passage)
            site = site_of(checked, name)
            workers[name, replica] = WorkerState(spec, site, killable=site != MASTER)
    far = {worker.site for worker in workers.values() if worker.site != MASTER} & {
        site.name for site in checked.workflow.sites.values() if site.placer not in _ON_THIS_HOST}
    queue_s = max((_wait_s(checked.workflow.sites[name]) for name in far), default=0.0)
    return RunState(workers, links, far=frozenset(far), queue_s=queue_s)


def _link(checked: Checked, link: Link) -> LinkSpec:
    nodes = checked.workflow.nodes
    senders, receivers = nodes[link.source].replicas, nodes[link.target].replicas
    return LinkSpec(
        name=link.name, source=link.source, target=link.target, output=link.output.name, input=link.input.name,
        kind=_kind(checked, link), policy=link.policy,
        limit_bytes=DEFAULT_LIMIT_BYTES, senders=senders, receivers=receivers, block=link.output.block.__name__)


def _kind(checked: Checked, link: Link) -> Literal["memory", "shm", "zmq", "far"]:
    """How the blocks of a link travel: inside this process, through shared memory of this host, or by socket.

    Raises WorkflowError when the workflow asks for a kind that cannot be.
    """
    ends = (link.source, link.target)
    together = all(site_of(checked, end) == MASTER for end in ends)
    here = hasattr(os, "memfd_create") and all(
        site_of(checked, end) == MASTER or _placer(checked, end) in _ON_THIS_HOST for end in ends)
    if len({_machine(checked, end) for end in ends}) == 2:
        if link.kind:
            raise WorkflowError([f"link {link.name}: its ends are on two machines; leave `link:` out"],
                                checked.workflow.name)
        return "far"
    if (link.kind == "memory" and not together) or (link.kind == "shm" and not here):
        reach = "inside one process (`placer: inline`)" if link.kind == "memory" else "on one host with Linux"
        raise WorkflowError([f"link {link.name}: a link of kind '{link.kind}' works only {reach}; leave `link:` out, "
                             "or use zmq"], checked.workflow.name)
    return link.kind or ("memory" if together else "shm" if here else "zmq")


def _wait_s(site: Site) -> float:
    """For how long an agent may come later than one of this machine; what is no number its placer refuses."""
    said = site.options.get("wait_s")
    return float(said) if isinstance(said, int | float) else WAIT_S.get(site.placer, FAR_WAIT_S)


def _machine(checked: Checked, operator: str) -> str:
    """The machine where an operator works; nothing for this one."""
    site = site_of(checked, operator)
    return "" if site == MASTER or _placer(checked, operator) in _ON_THIS_HOST else site


def _placer(checked: Checked, operator: str) -> str:
    return checked.workflow.sites[checked.workflow.nodes[operator].at].placer
