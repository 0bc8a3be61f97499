"""An agent that somebody starts by hand dials us; when it dies another is started in its place."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apart import until

from camlink.runtime import states
from camlink.runtime.run import open_run
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.usefixtures("nothing_is_left")]
FRAMES = 120


def start(run: Path, agent: str) -> subprocess.Popen[bytes]:
    """Do what the file of an agent says, with the camlink of this Python."""
    words = run / "keys" / agent / "join"
    until(words.exists, 60, f"{words} is there")
    return subprocess.Popen([sys.executable, "-m", *shlex.split(words.read_text())])


@pytest.mark.parametrize("dies", [False, pytest.param(True, marks=pytest.mark.full)])
def test_an_agent_that_somebody_starts_dials_us(tmp_path: Path, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if dies:
        monkeypatch.setattr(states, "FAR_SILENCE_S", 5.0)  # only its silence tells
    folder = tmp_path / "run"
    site = Site("cluster", "join", {"address": "127.0.0.1"})
    made = Workflow("joined", sites={"here": Site("here"), "cluster": site})
    count = made.add("count", toys.count, made.add("camera", toys.camera, frames=FRAMES, gap_s=0.02), at="cluster")
    made.add("add", toys.add, count)
    seen: list[Any] = []
    with open_run(made, folder=folder, watch=seen.append) as opened:
        first = start(folder, "cluster")
        assert (folder / "keys/cluster/agent.key").stat().st_mode & 0o777 == 0o600
        if dies:
            until(lambda: seen and seen[-1].frames["delivered"] > 40, 60, "frames are delivered")
            first.kill()
            first.wait(10)
            last = start(folder, "cluster.next1")
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert (last if dies else first).wait(20) == 0
    assert {link["kind"] for link in report.links} == {"far"}
    told = "\n".join(tell(folder))
    assert f"the agent 'cluster': waits until somebody runs what {folder}/keys/cluster/join says" in told
    assert ("the agent 'cluster.next1' joined" in told) is dies
    assert list((folder / "keys").iterdir()) == []
    assert not [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if "agent.key" in line]
