"""Operators of one's own: a workflow with Python files beside it runs over ssh and in a job of Slurm as it is."""

from __future__ import annotations

import getpass
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from apart import until

from camlink.display.terminal.options import read_flow
from camlink.runtime.run import OpenRun, make_master
from camlink.testing import toys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FLOW = """
workflow: weighing
sites:
  far: {placer: local}
operators:
  camera: {use: "camlink.testing.toys:camera", at: far, frames: 40, wait_at: 20}
  double: {use: "NAME:double", from: camera, at: far}
  weigh:  {use: "NAME:weigh", from: double, at: far}
  look:   {use: view, from: camera, policy: latest}
"""
OPERATORS = """
import os

from NAME_factor import FACTOR

from camlink import CountFrames, RawFrames, operator
from camlink.block import Result
from camlink.workflow.operator import Context
from camlink.workflow.port import Inflow


@operator("double")
def double(frames: RawFrames) -> CountFrames:
    return CountFrames(frames.header, {**frames.arrays, "frames": FACTOR * frames.frames.astype("float32")})


@operator("weigh", kind="sink")
def weigh(frames: Inflow[CountFrames], *, context: Context) -> None:
    import NAME_scale
    total = 0.0
    for block in frames:
        [weighed] = context.executor.map(NAME_scale.weight, [block])
        weight, process = weighed.result(60)
        total += weight
        context.tell(total=total, agent=os.getppid(), files=[__file__, NAME_scale.__file__],
                     apart=process != os.getpid())
"""


def write_flow(folder: Path, name: str) -> Path:
    """A workflow in a folder of its own, with two files beside it that its operators are in or import, and a third."""
    folder.mkdir()
    (folder / "scan.yaml").write_text(FLOW.replace("NAME", name))
    (folder / f"{name}.py").write_text(OPERATORS.replace("NAME", name))
    (folder / f"{name}_factor.py").write_text("FACTOR = 2\n")
    (folder / f"{name}_scale.py").write_text("import os\n\n\ndef weight(block):\n"
                                             "    return float(block.frames[:, 0, 0].sum()), os.getpid()\n")
    return folder / "scan.yaml"


def run_over(site: dict[str, Any], name: str, tmp_path: Path, *, killed: bool = False) -> None:
    """Run it; its folder is gone before an agent is there, and what came along must have served, and be gone too."""
    file = write_flow(tmp_path / "beside", name)
    (tmp_path / "sites.yaml").write_text(json.dumps({"sites": {"far": site}}))
    master = make_master(read_flow(file, sites=tmp_path / "sites.yaml"), folder=tmp_path / "run")
    file.parent.rename(tmp_path / "elsewhere")
    seen: list[dict[str, Any]] = []

    def told(but: int = 0) -> bool:
        facts = [op.facts for op in (opened.status.operators if opened.status else ()) if op.name == "weigh"]
        seen.extend(fact for fact in facts if fact.get("agent", but) != but)
        return bool(seen) and seen[-1]["agent"] != but

    with OpenRun(master) as opened:
        until(told, 90, "frames are weighed")
        if killed:
            os.kill(seen[-1]["agent"], signal.SIGKILL)
            until(lambda: told(seen[0]["agent"]), 90, "frames are weighed at another agent")
        (tmp_path / "run" / toys.GO).touch()
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["weigh"]["total"] == 2 * sum(range(40))
    assert report.operators["weigh"]["apart"] is ("dask" in site)
    for fact in seen:
        for path, module in zip(map(Path, fact["files"]), (name, f"{name}_scale"), strict=True):
            assert path.name == f"{module}.py"
            assert path.parent.name == "luggage"
            assert path.parent.parent.name.startswith("camlink-")  # of the agent, mode 0700
            assert not path.parent.parent.exists()
    assert not [path for path in tmp_path.rglob(f"{name}*.py") if path.parent.name != "elsewhere"]


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that are looked into are forgotten after each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_operators_go_along_by_ssh_and_to_the_agent_that_takes_the_place_of_a_lost_one(
        sshd: Any, tmp_path: Path) -> None:
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    site = {"placer": "ssh", "host": "127.0.0.1", "port": sshd.node, **way}
    run_over(site, "weigh_there", tmp_path, killed=True)


def test_operators_go_along_into_a_job_of_slurm_and_to_its_cluster(slurm: Path, tmp_path: Path) -> None:
    for package in ("psij", "distributed"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[sites]'")
    run_over({"placer": "slurm", "walltime_s": 600, "dask": 1}, "weigh_in_a_job", tmp_path)
