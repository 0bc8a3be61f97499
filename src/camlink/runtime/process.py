"""Entry of the processes that placers start: `python -m camlink.runtime.process agent|worker|spare ...`."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from camlink.clock import keep_origin
from camlink.errors import PeerLost
from camlink.runtime.agent import Agent
from camlink.runtime.cluster_side import ClusterSide
from camlink.runtime.host import Host
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import MAX_CONTROL_BYTES, WorkerSpec
from camlink.runtime.place.local import Processes
from camlink.runtime.title import write_title
from camlink.runtime.worker import Worker

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent: int, with_signal: signal.Signals) -> None:
    """Ask the kernel for `with_signal` when the process `parent` that started this one is gone.

    Raises PeerLost when it is gone already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        raise PeerLost(f"the process {parent} that started this one ended before it was ready")


def agent(master: str, site: str, sockets: str, walltime_s: str, parent: str, origin_s: str) -> None:
    """An agent that starts each worker in a process of its own; a walltime of 0 s is none."""
    end_with_parent(int(parent), signal.SIGTERM)
    keep_origin(float(origin_s))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    context: zmq.Context[Any] = zmq.Context()
    address = f"ipc://{sockets}/agent-{site}"
    with Processes(address) as workers:
        has = take_inventory(Path(sockets), float(walltime_s))
        Agent(site, context, master, address, workers, has, cluster=ClusterSide(site, Path(sockets), has)).run()
    context.term()


def worker(control: str, _name: str, parent: str, origin_s: str) -> None:
    """A worker, named for those who look at processes; reads its WorkerSpec as msgpack from standard input."""
    end_with_parent(int(parent), signal.SIGKILL)
    keep_origin(float(origin_s))
    work(control, _read_spec()[1])


def spare(control: str, modules: str, _room: str, parent: str, origin_s: str) -> None:
    """A worker to be: imports what the others import, and waits for the spec that makes it one of them."""
    end_with_parent(int(parent), signal.SIGKILL)
    keep_origin(float(origin_s))
    for module in modules.split(","):
        with suppress(Exception):  # a worker that needs it is going to say what is wrong with it
            importlib.import_module(module)
    log, spec = _read_spec()
    write_title([sys.executable, "-m", "camlink.runtime.process", "worker", control, spec.line, parent, origin_s])
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    work(control, spec)


def _read_spec() -> tuple[str, WorkerSpec]:
    """The path of its log and what it is, from standard input; a spare that nobody needs ends here."""
    said = sys.stdin.buffer.read(MAX_CONTROL_BYTES)
    if not said:
        sys.exit(0)
    return msgspec.msgpack.decode(said, type=tuple[str, WorkerSpec])


def work(control: str, spec: WorkerSpec) -> None:
    """Be one attempt of a worker, from its launch to its end."""
    context: zmq.Context[Any] = zmq.Context()
    host = Host(context, control)
    Worker(spec, host).run()
    if host.crossing is not None:
        host.crossing.close_admission()
    context.term()
    if host.crossing is not None:
        host.crossing.close()


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent(*sys.argv[2:])
    elif sys.argv[1] == "spare":
        spare(*sys.argv[2:])
    else:
        worker(*sys.argv[2:])
