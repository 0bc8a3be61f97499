"""A site by ssh: the agent is a program there; it reaches us through a port that leads back, with a key of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from camlink.carry.far.keys import Keys
from camlink.runtime.place.environment import fit
from camlink.runtime.place.job import JobSpec
from camlink.runtime.place.ssh import Hop, Reach, SshSubmitter


class SshOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a workflow says of a site by ssh: the host, the hops before it, and the Python there.

    That Python runs the agent when it has this camlink; else one is made of it for the run (environment.fit).
    `listen` is an address of the host, or `any`, where links may be dialled directly; none unless asked.
    """

    host: str
    port: int = 22
    user: str = ""
    key: Path | None = None
    known_hosts: Path | None = None
    jump: tuple[Hop, ...] = ()
    python: str = ""
    listen: str = ""


class SshPlace:
    """Starts agents on another machine (remote.Place)."""

    def __init__(self, options: SshOptions) -> None:
        self._options = options
        last = Hop(host=options.host, port=options.port, user=options.user, key=options.key,
                   known_hosts=options.known_hosts)
        self._reach = Reach((*options.jump, last))
        self._open = False

    async def open(self, site: str, keys: Keys, port: int, relay: int) -> tuple[SshSubmitter, JobSpec]:
        """The connection, and the program that is the agent."""
        reach = await self._reach.__aenter__()
        self._open = True
        key = await reach.put_private("agent.key", msgspec.json.encode(keys))
        address = f"tcp://127.0.0.1:{await reach.lead_back(port)}"
        folder = Path(reach.folder)
        python = await fit(reach, self._options.python)
        argv = (python, "-m", "camlink", "agent", "--join", address, "--key", key, "--site", site,
                "--relay", f"127.0.0.1:{await reach.lead_back(relay)}",
                *(("--listen", self._options.listen) if self._options.listen else ()))
        return SshSubmitter(reach), JobSpec(argv=argv, name=f"camlink-{site}", folder=folder,
                                            output=folder / "agent.log")

    async def lead(self, target: int | str, *, out: bool) -> int:
        """A port on our loopback that leads to a unix socket there (`out`), or one there that leads to what is ours."""
        return await (self._reach.lead_out(str(target)) if out else self._reach.lead_back(target))

    async def close(self) -> None:
        """Remove our folder there and close the connection."""
        if self._open:
            await self._reach.__aexit__(None, None, None)
