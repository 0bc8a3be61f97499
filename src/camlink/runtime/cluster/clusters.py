"""Clusters: the master's side of the clusters of a run: who runs the scheduler of a site, and who joins it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from camlink.carry.far.keys import write_private
from camlink.errors import StorageError
from camlink.runtime.cluster.certificates import LIFE, Authority, Pass, beside
from camlink.runtime.messages import ClusterUp, Dashboard, JoinCluster, Joined, Launch, StartScheduler
from camlink.workflow.graph import Site


def leave(client: Pass, socket: Path) -> None:
    """Leave a pass beside a unix socket, in files of mode 0600, for who asks there; raises StorageError."""
    for path, text in zip(beside(socket), (client.authority.encode(), client.pem), strict=True):
        write_private(path, text)


@dataclass
class _Cluster:
    scheduler: str
    authority: Authority = field(default_factory=Authority)
    passes: dict[str, Pass] = field(default_factory=dict)
    issued_s: float = 0.0
    address: str = ""
    agents: list[str] = field(default_factory=list)

    def renew(self) -> bool:
        """Issue new passes when a quarter of the life of those before is over, or the date was set; true then."""
        now_s = time.time()
        if abs(now_s - self.issued_s) < LIFE.total_seconds() / 4:
            return False
        self.passes, self.issued_s = self.authority.issue(LIFE), now_s
        return True


class Clusters:
    """What to say to which agent as agents join; the sites that want a cluster say `dask`.

    Dask's pages of those that want a `dashboard` too lie in `sockets`, below paths that begin with the name of the run,
    and the certificates with which the page of the run asks for them.
    """

    def __init__(self, sites: Mapping[str, Site], sockets: Path, run: str) -> None:
        self._sites = {name: site for name, site in sites.items() if site.dask}
        self._clusters: dict[str, _Cluster] = {}
        below = re.sub(r"[^A-Za-z0-9_.-]", "-", run)
        self.dashboards = {name: Dashboard(str(sockets / f"dask-{number}"), f"/runs/{below}/dask/{name}")
                           for number, (name, site) in enumerate(self._sites.items()) if site.dashboard}

    def joined(self, message: Joined, site: str) -> Iterator[tuple[str, StartScheduler | JoinCluster]]:
        """An agent is there: the first of its site runs the scheduler."""
        if site in self._sites:
            yield from self._add(message.site, site)

    def _add(self, agent: str, site: str) -> Iterator[tuple[str, StartScheduler | JoinCluster]]:
        known = self._clusters.get(site)
        if known is None:
            known = self._clusters[site] = _Cluster(agent)
            known.renew()
            self._show(site)
            yield agent, self._schedule(site)
        known.agents.append(agent)
        if known.address:
            yield agent, self._join(site)

    def up(self, message: ClusterUp, site: str) -> Iterator[tuple[str, JoinCluster]]:
        """A scheduler tells where it is: everybody of its site joins."""
        known = self._clusters.get(site)
        if known is not None and message.site == known.scheduler:
            known.address = message.address
            yield from ((agent, self._join(site)) for agent in known.agents)

    def lost(self, agent: str) -> Iterator[tuple[str, StartScheduler | JoinCluster]]:
        """An agent is gone; with it the scheduler, when it ran it: those left, or the next that joins, begin anew."""
        for site, known in list(self._clusters.items()):
            known.agents = [other for other in known.agents if other != agent]
            if known.scheduler == agent:
                del self._clusters[site]
                for other in known.agents:
                    yield from self._add(other, site)

    def renew(self) -> Iterator[tuple[str, StartScheduler | JoinCluster]]:
        """Everybody of a cluster whose passes were renewed gets them in the words that it knows already."""
        for site, known in self._clusters.items():
            if known.renew():
                self._show(site)
                yield known.scheduler, self._schedule(site)
                yield from ((agent, self._join(site)) for agent in known.agents if known.address)

    def complete(self, message: Launch, site: str) -> Launch:
        """The message with the cluster that the worker may use."""
        return replace(message, spec=replace(message.spec, cluster=site)) if site in self._sites else message

    def _show(self, site: str) -> None:
        """Let the page of the run ask for the dashboard of a site with the newest certificate."""
        if site in self.dashboards:
            with suppress(StorageError):  # then nobody answers the page, and the work goes on
                leave(self._clusters[site].passes["client"], Path(self.dashboards[site].socket))

    def _schedule(self, site: str) -> StartScheduler:
        return StartScheduler(own=self._clusters[site].passes["scheduler"], listen=self._listen(site),
                              dashboard=self.dashboards.get(site, Dashboard()))

    def _join(self, site: str) -> JoinCluster:
        known, workers = self._clusters[site], self._sites[site].dask
        return JoinCluster(cluster=site, address=known.address, workers=0 if workers is True else int(workers),
                           own=known.passes["worker"], client=known.passes["client"], listen=self._listen(site))

    def _listen(self, site: str) -> str:
        return str(self._sites[site].options.get("listen", "")) if self._sites[site].agents > 1 else ""
