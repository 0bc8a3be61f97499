"""Entry of the processes on a site: `python -m camlink.runtime.process nursery ...` becomes agents and workers."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import zmq

from camlink.clock import keep_origin
from camlink.runtime.agent import Agent
from camlink.runtime.cluster.side import ClusterSide
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.nursery import Birth, adopt, end_with_parent, fork_nursery, name_process, nurse
from camlink.runtime.place.births import Births
from camlink.runtime.place.local import Processes
from camlink.runtime.work.host import Host
from camlink.runtime.work.worker import Worker


def nursery(parent: str, line: str, whose: str, origin_s: str, _room: str) -> Birth | None:
    """Fork those that the process at the other end of the line asks for: children of it (`ours`) or of this one."""
    end_with_parent(int(parent), signal.SIGKILL)
    keep_origin(float(origin_s))
    home = int(parent)
    if whose != "ours":
        home = os.getpid()
        adopt()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here asks how they ended
    return nurse(socket.socket(fileno=int(line)), home)


def agent(master: str, site: str, sockets: str, walltime_s: str, parent: str) -> Birth | None:
    """An agent that lets a nursery below it fork its workers; a walltime of 0 s is none; ends with `parent`."""
    born = fork_nursery()
    if isinstance(born, Birth):
        return born
    name_process("agent", master, site, sockets, walltime_s, parent)  # its nursery was never to be called so
    orphaned = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: orphaned.set())
    try:
        master_end = os.pidfd_open(int(parent))
    except ProcessLookupError:
        return None
    context: zmq.Context[Any] = zmq.Context()
    address = f"ipc://{sockets}/agent-{site}"
    with Processes(address, Births(born=born)) as workers:
        has = take_inventory(Path(sockets))
        if float(walltime_s):
            has = msgspec.structs.replace(has, walltime_left_s=float(walltime_s))
        side = ClusterSide(site, Path(sockets), has)
        Agent(site, context, master, address, workers, has, cluster=side, master_end=master_end,
              orphaned=orphaned.is_set).run()
    context.term()
    if orphaned.is_set():
        sys.exit(143)
    return None


def worker(control: str, spec: WorkerSpec) -> None:
    """Be one attempt of a worker, from its launch to its end."""
    context: zmq.Context[Any] = zmq.Context()
    host = Host(context, control)
    Worker(spec, host).run()
    if host.crossing is not None:
        host.crossing.close_admission()
    context.term()
    if host.crossing is not None:
        host.crossing.close()


def become(birth: Birth | None) -> None:
    """Be what was asked for; of an agent a nursery is forked, and of that its workers."""
    while birth is not None and birth.words:
        role, *words = birth.words
        if role == "agent":
            birth = agent(*words)
            continue
        name_process(*birth.words)
        worker(words[0], msgspec.msgpack.decode(birth.said, type=WorkerSpec))
        return


if __name__ == "__main__":
    become(nursery(*sys.argv[2:]))
