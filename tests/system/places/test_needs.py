"""Needs and agents of different machines: the worker goes where it finds them, or the run says why it cannot."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from camlink.errors import WorkflowError
from camlink.runtime.run import run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def sites(sshd: Any, tmp_path: Path) -> dict[str, Site]:
    """A site of one core and one of all that this machine has."""
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("this machine has one core: no two agents can differ")
    narrow = tmp_path / "python-of-one-core"
    narrow.write_text(f'#!/bin/sh\nexec taskset -c {cores[0]} {shlex.quote(sys.executable)} "$@"\n')
    narrow.chmod(0o755)
    way = {"host": "127.0.0.1", "port": sshd.node, "user": getpass.getuser(), "key": str(sshd.folder / "id"),
           "known_hosts": str(sshd.folder / "known_hosts")}
    return {"small": Site("small", "ssh", {**way, "python": str(narrow)}), "large": Site("large", "ssh", way)}


def flow(sites: dict[str, Site], cores: int) -> Workflow:
    made = Workflow("needs", sites=sites)
    frames = made.add("camera", toys.camera, at="small", frames=40)
    count = made.add("count", toys.count, frames, at="any", needs={"cores": cores})
    made.add("add", toys.add, count, at="any")
    return made


def test_a_worker_goes_to_the_agent_that_has_what_it_needs(sites: dict[str, Site], tmp_path: Path) -> None:
    report = run(flow(sites, 2), folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(40))
    assert {name: told["site"] for name, told in report.operators.items()} == {
        "camera": "small", "count": "large", "add": "small"}
    assert {link["kind"] for link in report.links} == {"far"}


def test_a_need_that_no_agent_meets_is_the_verdict(sites: dict[str, Site], tmp_path: Path) -> None:
    report = run(flow(sites, 1000), folder=tmp_path / "run")
    assert report.verdict == "failed"
    assert "count needs what no agent has: small lacks cores (1000 asked, 1 there); large lacks" in str(report.reasons)


def test_what_is_known_beforehand_is_refused_before_the_start(tmp_path: Path) -> None:
    made = Workflow("needs", sites={"here": Site("here"), "cluster": Site("cluster", "slurm", {"cpus": 2})})
    frames = made.add("camera", toys.camera, needs={"memory": "900 TB"})
    made.add("count", toys.count, frames, at="cluster", needs={"cores": 4, "time": "3 h"})
    with pytest.raises(WorkflowError) as refused:
        run(made, folder=tmp_path / "run")
    assert "here lacks memory (819 TiB asked" in str(refused.value)
    assert ("cluster lacks cores (4 asked, 2 there), time before its job ends (3 h asked, 1 h there)"
            in str(refused.value))
    assert not (tmp_path / "run").exists()


def test_replicas_and_work_are_spread_over_the_agents_of_a_site(slurm: Path, tmp_path: Path) -> None:
    """Two jobs of Slurm are two agents; each runs a replica and a worker of the site's Dask."""
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    made = Workflow("spread", sites={
        "here": Site("here"), "cluster": Site("cluster", "slurm", {"listen": "127.0.0.1"}, agents=2, dask=1)})
    frames = made.add("camera", toys.camera, frames=100)
    count = made.add("count", toys.count, frames, at="cluster", replicas=2)
    made.add("add", toys.add, count)
    made.add("spread", toys.spread, frames, at="cluster", pieces=12)
    report = run(made, folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(100))
    assert report.operators["count"]["site"] == "cluster.1, cluster.2"
    assert report.operators["spread"]["total"] == sum(range(12))
    assert report.operators["spread"]["here"] == 0
    assert list((tmp_path / "run" / "keys").glob("**/*.key")) == []
