"""A site by jobs (Slurm, PBS, LSF, a facility over HTTP): the agent is one; its key lies in the run's folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from camlink.carry.far.keys import Keys, write_keys
from camlink.runtime.place.job import Amount, Count, JobSpec, Span, Submitter, Word


class JobOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a workflow says of a site by jobs; `address` is where agents reach this machine, from its nodes.

    `listen` is an address of the node, or `any`, where links may be dialled directly; none unless asked. `exclusive`
    asks for a whole node for each agent. A job that waits longer than `wait_s` is given up.
    """

    address: str = "127.0.0.1"
    queue: Word = ""
    account: Word = ""
    cpus: Count = 1
    gpus: Amount = 0
    memory_bytes: Amount = 0
    exclusive: bool = False
    walltime_s: Span = 3600.0
    python: str = sys.executable
    wait_s: Span = 3600.0
    margin_s: float = 300.0
    listen: str = ""


class SlurmOptions(JobOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same by Slurm: where we are in an allocation ourselves agents are steps of it, or, with `new_job`, jobs."""

    new_job: bool = False


class FacilityOptions(JobOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same at a facility that takes jobs over HTTP: its `api`, the `machine` there, a file with your token."""

    api: str
    machine: str
    token: Path


class JobPlace:
    """Starts agents as jobs of a submitter that `make` makes; its argument is a folder for its files (remote.Place)."""

    def __init__(self, options: JobOptions, folder: Path, make: Callable[[Path], Submitter]) -> None:
        self._options, self._folder, self._make = options, folder, make
        self._key: Path | None = None

    async def open(self, site: str, keys: Keys, port: int, relay: int) -> tuple[Submitter, JobSpec]:
        """The submitter, and the job that is the agent."""
        options = self._options
        key = self._key = write_keys(keys, self._folder / "keys" / site)
        address = f"tcp://{options.address}:{port}"
        argv = (options.python, "-m", "camlink", "agent", "--join", address, "--key", str(key), "--site", site,
                "--relay", f"{options.address}:{relay}", "--walltime", f"{options.walltime_s:g}",
                *(("--listen", options.listen) if options.listen else ()))
        return self._make(self._folder / f"jobs-{site}"), JobSpec(
            argv=argv, name=f"camlink-{site}", folder=self._folder, output=self._folder / f"agent-{site}.log",
            cpus=options.cpus, gpus=options.gpus, memory_bytes=options.memory_bytes, exclusive=options.exclusive,
            walltime_s=options.walltime_s, queue=options.queue, account=options.account)

    async def lead(self, target: int | str, *, out: bool) -> int:
        """Nothing leads to a node but what it dials itself."""
        del target, out
        return 0

    async def close(self) -> None:
        """Remove the key."""
        if self._key is not None:
            self._key.unlink(missing_ok=True)
            self._key.parent.rmdir()
