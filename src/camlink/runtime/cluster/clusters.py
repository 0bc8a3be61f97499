"""Clusters: the master's side of the clusters of a run: who runs the scheduler of a site, and who joins it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from camlink.runtime.cluster.certificates import Pass, make_certificates
from camlink.runtime.messages import ClusterUp, Dashboard, JoinCluster, Joined, Launch, StartScheduler
from camlink.workflow.graph import Site

ROLES: Final = ("scheduler", "worker", "client")


@dataclass
class _Cluster:
    passes: dict[str, Pass]
    scheduler: str
    address: str = ""
    agents: list[str] = field(default_factory=list)


class Clusters:
    """What to say to which agent as agents join; the sites that want a cluster say `dask`.

    Dask's pages of those that want a `dashboard` too lie in `sockets`, below paths that begin with the name of the run.
    """

    def __init__(self, sites: Mapping[str, Site], sockets: Path, run: str) -> None:
        self._sites = {name: site for name, site in sites.items() if site.dask}
        self._clusters: dict[str, _Cluster] = {}
        below = re.sub(r"[^A-Za-z0-9_.-]", "-", run)
        self.dashboards = {name: Dashboard(str(sockets / f"dask-{number}"), f"/runs/{below}/dask/{name}")
                           for number, (name, site) in enumerate(self._sites.items()) if site.dashboard}

    def joined(self, message: Joined, site: str) -> Iterator[tuple[str, StartScheduler | JoinCluster]]:
        """An agent is there: the first of its site runs the scheduler."""
        if site not in self._sites:
            return
        known = self._clusters.get(site)
        if known is None:
            _, passes = make_certificates(ROLES)
            known = self._clusters[site] = _Cluster(passes, message.site)
        if known.scheduler == message.site:
            yield message.site, StartScheduler(own=known.passes["scheduler"], listen=self._listen(site),
                                               dashboard=self.dashboards.get(site, Dashboard()))
        known.agents.append(message.site)
        if known.address:
            yield message.site, self._join(site)

    def up(self, message: ClusterUp, site: str) -> Iterator[tuple[str, JoinCluster]]:
        """A scheduler tells where it is: everybody of its site joins."""
        known = self._clusters.get(site)
        if known is not None and message.site == known.scheduler:
            known.address = message.address
            yield from ((agent, self._join(site)) for agent in known.agents)

    def lost(self, agent: str) -> None:
        """An agent is gone; with it the scheduler, when it ran it: the next agent that joins gets it."""
        for site, known in list(self._clusters.items()):
            known.agents = [other for other in known.agents if other != agent]
            if known.scheduler == agent:
                del self._clusters[site]

    def complete(self, message: Launch, site: str) -> Launch:
        """The message with the cluster that the worker may use."""
        return replace(message, spec=replace(message.spec, cluster=site)) if site in self._sites else message

    def _join(self, site: str) -> JoinCluster:
        known, workers = self._clusters[site], self._sites[site].dask
        return JoinCluster(cluster=site, address=known.address, workers=0 if workers is True else int(workers),
                           own=known.passes["worker"], client=known.passes["client"], listen=self._listen(site))

    def _listen(self, site: str) -> str:
        return str(self._sites[site].options.get("listen", "")) if self._sites[site].agents > 1 else ""
