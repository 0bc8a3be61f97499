"""A real PBS, where one answers: an agent as its job, one that is deleted, one that cannot begin, and what is left."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from camlink.runtime.run import open_run, run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.fixture(autouse=True)
def pbs() -> None:
    if not shutil.which("qstat") or subprocess.run(["qstat", "-B"], capture_output=True, timeout=30).returncode:
        pytest.skip("no PBS answers here (qstat -B); Debian has no package of it")


@pytest.fixture(params=["pbs", "pbs_classic"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def flow(system: str, frames: int, **options: Any) -> Workflow:
    site = Site("cluster", system, {"walltime_s": 600, "memory_bytes": 1 << 30, **options})
    made = Workflow("real", sites={"here": Site("here"), "cluster": site})
    count = made.add("count", toys.count, made.add("camera", toys.camera, frames=frames, gap_s=0.02), at="cluster")
    made.add("add", toys.add, count, at="cluster")
    return made


def nothing_is_left(folder: Path) -> None:
    deadline = time.monotonic() + 15
    while "camlink-cluste" in said("qstat"):
        assert time.monotonic() < deadline, said("qstat")
        time.sleep(0.2)
    assert list((folder / "keys").iterdir()) == list(folder.glob("jobs-*")) == []


def test_an_agent_runs_as_a_job(system: str, tmp_path: Path) -> None:
    report = run(flow(system, 30, cpus=2), folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(30))
    nothing_is_left(tmp_path / "run")


def test_a_job_that_is_deleted_is_replaced_and_costs_no_frame(system: str, tmp_path: Path) -> None:
    with open_run(flow(system, 300), folder=tmp_path / "run") as opened:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run").glob("journal/add*.blocks")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said("qdel", said("qselect", "-N", "camlink-cluster", "-s", "R").strip())
        report = opened.wait(90)
    assert report is not None
    assert (report.verdict, report.operators["add"]["total"]) == ("complete", sum(range(300)))
    nothing_is_left(tmp_path / "run")


def test_a_job_that_cannot_begin_is_taken_out_with_what_pbs_says(system: str, tmp_path: Path) -> None:
    report = run(flow(system, 30, cpus=4096, wait_s=5), folder=tmp_path / "run")
    assert report.verdict == "failed"
    assert "did not begin in 5 s: " in report.reasons[0]
    assert "ncpus" in report.reasons[0]
    assert not [reason for reason in report.reasons if reason.endswith(": ")]
    nothing_is_left(tmp_path / "run")
