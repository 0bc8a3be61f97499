"""Hosting: when all agents are there, each worker is given one that has what it needs, and links their kinds; pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final

from msgspec.structs import replace

from camlink.runtime.crew import WorkerState
from camlink.runtime.messages import Inventory, Joined, LinkSpec
from camlink.workflow.assignment import Given, Unmet, Want, assign
from camlink.workflow.needs import Offer

HAS_MEMFD: Final = hasattr(os, "memfd_create")
HERE: Final = "this machine"


def machine_of(agent: str, far: frozenset[str]) -> str:
    """The machine of an agent; nothing for this one."""
    return agent if agent in far else ""


def offer_of(has: Inventory, pool: str) -> Offer:
    """What an agent that has come offers."""
    return Offer(cores=has.cores, memory_bytes=has.memory_bytes, disk_bytes=has.disk_bytes, gpus=len(has.gpus),
                 time_s=has.walltime_left_s, pool=pool)


def settle(workers: Mapping[tuple[str, int], WorkerState], links: dict[str, LinkSpec], joined: Mapping[str, Joined],
           agents: Mapping[str, str], far: frozenset[str]) -> str:
    """Give each worker its agent, and links that do not cross after all a shorter way; says what cannot be met."""
    offers = _offers(joined, far)
    keys = {worker.spec.identity: key for key, worker in workers.items()}
    found = assign({name: Want(key[0], workers[key].spec.needs, workers[key].spec.hosts or (workers[key].site,))
                    for name, key in keys.items()}, offers)
    if isinstance(found, Unmet):
        return found.text
    for name, given in found.items():
        worker = workers[keys[name]]
        worker.site = given.agent
        worker.spec = replace(worker.spec, gpus=given.gpus, site=agents.get(given.agent) or worker.spec.site)
    for link in links.values():
        machines = {machine_of(w.site, far) for (name, _), w in workers.items() if name in (link.source, link.target)}
        if link.kind == "far" and len(machines) == 1:
            links[link.name] = replace(link, kind="shm" if machines == {""} and HAS_MEMFD else "zmq")
    for worker in workers.values():
        worker.spec = replace(worker.spec, inputs=tuple(links[k.name] for k in worker.spec.inputs),
                              outputs=tuple(links[k.name] for k in worker.spec.outputs))
    return ""


def room_for(model: WorkerState, workers: Mapping[tuple[str, int], WorkerState], joined: Mapping[str, Joined],
             agents: Mapping[str, str], far: frozenset[str], ending: Collection[str] = ()) -> Given | Unmet:
    """The agent and the GPUs of one more replica, beside all that work already; its links stay of their kind.

    Agents that are `ending` take nobody any more.
    """
    sites = {agents.get(host) for host in model.spec.hosts or (model.site,)}
    cross = all(link.kind == "far" for link in (*model.spec.inputs, *model.spec.outputs))
    good = [agent for agent in joined if agent not in ending and agents.get(agent) in sites
            and (cross or machine_of(agent, far) == machine_of(model.site, far))]
    there = [w for w in workers.values() if not w.over]
    wants = {w.spec.identity: Want(w.spec.operator, w.spec.needs, (w.site,)) for w in there}
    found = assign({**wants, "": Want(model.spec.operator, model.spec.needs, tuple(good))}, _offers(joined, far))
    if isinstance(found, Unmet):
        return found
    agent, gpus = found[""].agent, found[""].gpus
    taken = {gpu for w in there if w.site == agent for gpu in w.spec.gpus}
    free = [gpu for gpu in range(len(joined[agent].has.gpus)) if gpu not in taken]
    return Given(agent, tuple(free[:len(gpus)]))


def _offers(joined: Mapping[str, Joined], far: frozenset[str]) -> dict[str, Offer]:
    return {agent: offer_of(there.has, machine_of(agent, far) or HERE) for agent, there in joined.items()}
