"""Who hosts whom when the agents are there: inventories in, agents, GPUs and kinds of links out."""

from __future__ import annotations

from pathlib import Path

from camlink.runtime.events import Begin, Scale, Send
from camlink.runtime.layout import lay_out
from camlink.runtime.messages import Inventory, Joined, Kill, Launch
from camlink.runtime.states import RunState
from camlink.testing import toys
from camlink.workflow.check import check
from camlink.workflow.graph import Site, Workflow


def joined(agent: str, cores: int = 2, gpus: int = 0) -> Joined:
    return Joined(site=agent, pid=1, has=Inventory(
        host=agent, system="s", cores=cores, memory_bytes=8 << 30, disk_bytes=1 << 30, gpus=("H",) * gpus,
        walltime_left_s=None, versions={}))


def state(**needs: object) -> RunState:
    flow = Workflow("f", sites={"here": Site("here"), "cluster": Site("cluster", "slurm", agents=2)})
    flow.add("camera", toys.camera)
    flow.add("count", toys.count, "camera", at="any", needs=needs)
    flow.add("add", toys.add, "count")
    made = lay_out(check(flow), Path("/tmp/f"), Path("/tmp/s"), {})
    made.handle(Begin(), 0.0)
    return made


def test_a_worker_goes_where_its_gpu_is_and_its_links_cross() -> None:
    made = state(gpu=1)
    assert made.agents == {"here": "here", "cluster.1": "cluster", "cluster.2": "cluster"}
    for agent in (joined("here"), joined("cluster.1"), joined("cluster.2", gpus=2)):
        sent = made.handle(agent, 1.0)
    launched = {i.message.spec.operator: i for i in sent if isinstance(i, Send) and isinstance(i.message, Launch)}
    assert {name: i.site for name, i in launched.items()} == {"camera": "here", "count": "cluster.2", "add": "here"}
    spec = launched["count"].message.spec
    assert (spec.gpus, spec.site) == ((0,), "cluster")
    assert {link.kind for link in (*spec.inputs, *spec.outputs)} == {"far"}


def test_links_that_do_not_cross_after_all_stay_on_the_machine() -> None:
    made = state()
    for agent in (joined("here"), joined("cluster.1"), joined("cluster.2")):
        made.handle(agent, 1.0)
    assert made.workers["count", 0].site == "here"
    assert {link.kind for link in made.links.values()} == {"shm"}
    assert {link.kind for link in made.workers["add", 0].spec.inputs} == {"shm"}


def test_a_need_that_no_agent_meets_ends_the_run_with_its_reason() -> None:
    made = state(cores=16)
    for agent in (joined("here"), joined("cluster.1", 4), joined("cluster.2", 8)):
        sent = made.handle(agent, 1.0)
    assert made.phase == "over"
    assert made.troubles == ["count needs what no agent has: here lacks cores (16 asked, 2 there); "
                             "cluster.1 lacks cores (16 asked, 4 there); cluster.2 lacks cores (16 asked, 8 there)"]
    assert not [i for i in sent if isinstance(i, Send) and isinstance(i.message, Launch | Kill)]


def test_one_more_replica_goes_where_there_is_room_and_gets_a_gpu_of_its_own() -> None:
    made = state(gpu=1)
    for agent in (joined("here"), joined("cluster.1", gpus=1), joined("cluster.2", gpus=2)):
        made.handle(agent, 1.0)
    made.phase = "graph"
    sites = []
    for replicas in (2, 3, 4):
        sent = made.handle(Scale(operator="count", replicas=replicas), 1.0)
        sites += [(i.site, i.message.spec.gpus) for i in sent
                  if isinstance(i, Send) and isinstance(i.message, Launch)]
    first = made.workers["count", 0]
    assert sorted([(first.site, first.spec.gpus), *sites]) == [
        ("cluster.1", (0,)), ("cluster.2", (0,)), ("cluster.2", (1,))]
    assert "need together 4 GPUs" in first.text
    made.joined["here"] = joined("here", gpus=1)
    (sent,) = (i for i in made.handle(Scale(operator="count", replicas=4), 1.0)
               if isinstance(i, Send) and isinstance(i.message, Launch))
    assert (sent.site, sent.message.spec.site, first.spec.site) == ("here", "here", "cluster")
