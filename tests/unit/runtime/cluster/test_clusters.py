"""What the master says to agents about clusters, and when."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from camlink.runtime.cluster.certificates import LIFE
from camlink.runtime.cluster.clusters import Clusters
from camlink.runtime.messages import ClusterUp, Inventory, JoinCluster, Joined, StartScheduler
from camlink.workflow.graph import Site


def joined(agent: str) -> Joined:
    return Joined(site=agent, pid=1, has=Inventory(host=agent, system="s", cores=2, memory_bytes=8 << 30,
                                                   disk_bytes=1 << 30, gpus=(), walltime_left_s=None, versions={}))


@pytest.mark.parametrize("passed_s", [LIFE.total_seconds() / 4, -LIFE.total_seconds()], ids=["a-quarter", "set-back"])
def test_everybody_of_a_cluster_gets_new_passes_in_time(monkeypatch: pytest.MonkeyPatch, passed_s: float) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    made, now_s = Clusters({"here": Site("here", agents=2, dask=1)}, Path("/tmp/s"), "run"), time.time()
    first = [*made.joined(joined("here.1"), "here"), *made.joined(joined("here.2"), "here"),
             *made.up(ClusterUp(site="here.1", address="tls://a"), "here")]
    assert list(made.renew()) == []
    monkeypatch.setattr(time, "time", lambda: now_s + passed_s + 1)
    later = list(made.renew())
    assert [(agent, type(said)) for agent, said in later] == [(agent, type(said)) for agent, said in first] == [
        ("here.1", StartScheduler), ("here.1", JoinCluster), ("here.2", JoinCluster)]
    for (_, before), (_, after) in zip(first, later, strict=True):
        assert before.own.key != after.own.key
        assert before.own.authority == after.own.authority
    assert list(made.renew()) == []


def test_when_the_scheduler_is_lost_with_its_agent_the_others_begin_anew_among_themselves() -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    made = Clusters({"here": Site("here", agents=2, dask=1)}, Path("/tmp/s"), "run")
    (_, first), *_ = [told for agent in ("here.1", "here.2", "here.3") for told in made.joined(joined(agent), "here")]
    assert len(list(made.up(ClusterUp(site="here.1", address="tls://a"), "here"))) == 3
    assert list(made.lost("here.3")) == []
    ((agent, said),) = made.lost("here.1")
    assert (agent, type(said)) == ("here.2", StartScheduler)
    assert said.own.authority != first.own.authority
    assert list(made.joined(joined("here.1.next1"), "here")) == []
    assert [agent for agent, _ in made.up(ClusterUp(site="here.2", address="tls://b"), "here")] == [
        "here.2", "here.1.next1"]
