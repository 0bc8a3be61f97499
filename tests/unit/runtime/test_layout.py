from __future__ import annotations

from pathlib import Path

import pytest

from camlink.errors import WorkflowError
from camlink.runtime.layout import lay_out
from camlink.testing import toys
from camlink.workflow.check import check
from camlink.workflow.graph import Site, Wire, Workflow


def kinds(placer: str, link: str | None = None) -> dict[str, str]:
    flow = Workflow("f", sites={"here": Site("here", placer)})
    flow.add("camera", toys.camera)
    flow.add("count", toys.count, Wire("camera", link=link))  # type: ignore[arg-type]
    flow.add("add", toys.add, "count")
    flow.add("look", toys.look, "add", policy="latest")
    state = lay_out(check(flow), Path("/tmp/f"), Path("/tmp/s"), {})
    return {name: spec.kind for name, spec in state.links.items()}


def test_blocks_travel_in_memory_inside_a_process_and_in_shared_memory_between_two() -> None:
    assert set(kinds("inline").values()) == {"memory"}
    assert set(kinds("local").values()) == {"shm"}


def test_the_workflow_may_choose() -> None:
    assert kinds("local", "zmq") == {"camera->count": "zmq", "count->add": "shm", "add->look": "shm"}
    with pytest.raises(WorkflowError, match="camera->count: a link of kind 'memory' works only inside one"):
        kinds("local", "memory")


def test_agents_whose_time_may_end_are_relieved_before_wherever_another_can_come() -> None:
    flow = Workflow("f", sites={"here": Site("here"), "job": Site("job", "slurm", {"address": "10.0.0.1"}),
                                "hand": Site("hand", "join", {"address": "10.0.0.1", "margin_s": 60})})
    flow.add("camera", toys.camera)
    flow.add("count", toys.count, "camera", at="job")
    flow.add("add", toys.add, "count", at="hand")
    assert lay_out(check(flow), Path("/tmp/f"), Path("/tmp/s"), {}).succession.margins == {"job": 300.0, "hand": 60.0}
