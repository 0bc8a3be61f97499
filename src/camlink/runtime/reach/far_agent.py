"""A far agent: dials its master with a key, says what its machine has, and runs workers in a folder of its own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import zmq

from camlink.carry.far.crossing import Passage
from camlink.carry.far.keys import read_keys
from camlink.errors import PeerLost
from camlink.runtime.agent import Agent
from camlink.runtime.cluster.side import ClusterSide
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.place.births import Births
from camlink.runtime.place.local import Processes
from camlink.runtime.reach.dial import Dial
from camlink.runtime.rundir import make_private_folder, make_socket_folder
from camlink.settings import read_settings
from camlink.workflow.needs import ANY


class FarProcesses(Processes):
    """Workers as processes on a machine that need not see the folders of the master; then `folder` stands for them."""

    def __init__(self, address: str, sockets: Path, relay: str, listen: tuple[str, ...]) -> None:
        super().__init__(address, Births())
        self.folder: Path | None = None
        self._sockets, self._relay, self._listen = sockets, relay, listen

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker with the sockets of this machine, and with the folder of the run where it can be seen."""
        folder = Path(spec.folder)
        if not os.access(folder, os.W_OK):
            folder = self.folder = make_private_folder(read_settings().scratch, Path(spec.sockets).name)
            (folder / "log").mkdir(exist_ok=True)
        passage = spec.passage
        if passage and self._relay:
            passage = Passage.opened(passage).by(self._relay, self._listen).sealed()
        super().start(msgspec.structs.replace(spec, sockets=str(self._sockets), folder=str(folder), passage=passage))


def work(join: str, key: Path, site: str, relay: str = "", listen: str = "", walltime_s: float = 0.0) -> None:
    """Join the master and work until it says Bye or is lost; `relay` is where this machine reaches that of the run.

    Links may be dialled directly at the address `listen` of this machine, or at each of them for `any`.
    Raises InputError for a key that is none, too old or not private.
    """
    keys = read_keys(key)
    sockets = make_socket_folder(read_settings().sockets)
    context: zmq.Context[Any] = zmq.Context()
    address = f"ipc://{sockets}/agent-{site}"
    try:
        has = take_inventory(sockets, walltime_s)
        luggage = _look_first(sockets / "luggage")
        heard = tuple(has.network) if listen == ANY else (listen,) if listen else ()
        with Dial(join, keys, sockets, site) as dial, FarProcesses(address, sockets, relay, heard) as workers:
            side = ClusterSide(site, sockets, has, relay)
            agent = Agent(site, context, dial.address, address, workers, has, dial, side,
                          luggage=luggage)
            agent.run()
            if dial.over:
                raise PeerLost(f"the agent of site '{site}' has ended: {dial.over}")
            if agent.bye is None:  # nobody is left who would remove it
                key.unlink(missing_ok=True)
            if workers.folder is not None and agent.bye is not None and not agent.bye.relieved:
                shutil.rmtree(workers.folder, ignore_errors=True)  # another agent of this site was told so too
    finally:
        context.destroy(linger=0)
        shutil.rmtree(sockets, ignore_errors=True)


def _look_first(folder: Path) -> Path:
    """A new folder where this process and those below it look for modules first, as the master found them."""
    folder.mkdir(mode=0o700)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return folder
