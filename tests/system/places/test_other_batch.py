"""PBS and LSF by the same interface as Slurm, where neither runs: small programs stand in for their commands.

These really run what they are given, so the scripts, their way through psij and the end of a job are tried; whether a
real one takes the scripts is not (of PBS: test_pbs).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from apart import until

from camlink.runtime.run import open_run, run
from camlink.runtime.status import RunStatus
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
COMMANDS = ("qsub", "qstat", "qdel", "bsub", "bjobs", "bkill")


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands on the path, and the folder of their jobs."""
    folder, programs = tmp_path / "jobs", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    for name in COMMANDS:
        shutil.copy(Path(__file__).parent / "standin/batch.py", programs / name)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("STANDIN", str(folder))
    return folder


def flow(system: str, frames: int = 30, **options: object) -> Workflow:
    site = Site("cluster", system, {"walltime_s": 600, "queue": "short", "account": "x1", **options})
    made = Workflow("other", sites={"here": Site("here"), "cluster": site})
    count = made.add("count", toys.count, made.add("camera", toys.camera, frames=frames, gap_s=0.02), at="cluster")
    made.add("add", toys.add, count, at="cluster")
    return made


def nothing_is_left(folder: Path, run_folder: Path) -> None:
    deadline = time.monotonic() + 15
    while left := [p for p in psutil.process_iter(["cmdline"]) if str(run_folder) in " ".join(p.info["cmdline"] or [])]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert all(path.read_text().startswith("end") for path in folder.glob("*.job"))
    assert list((run_folder / "keys").iterdir()) == list(run_folder.glob("jobs-*")) == []


@pytest.mark.parametrize("system", ["pbs", pytest.param("pbs_classic", marks=pytest.mark.full),
                                    pytest.param("lsf", marks=pytest.mark.full)])
def test_an_agent_runs_as_a_job(system: str, standin: Path, tmp_path: Path) -> None:
    report = run(flow(system, gpus=0, cpus=2, memory_bytes=1 << 30), folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(30))
    assert '"walltime_left_s":600.0' in (tmp_path / "run/events.jsonl").read_text()  # so that it is relieved in time
    asked = (standin / "1.asked").read_text()
    for line in {"pbs": ("select=1:ncpus=2:mpiprocs=1:mem=1048576kb", "place=scatter", "walltime=0:10:00", "-q short"),
                 "pbs_classic": ("nodes=1:ppn=2\n", "mem=1048576kb\n", "-A x1\n"),
                 "lsf": ("-n 2\n", '-R "span[ptile=2]"', "-W 0:10\n", "-P x1\n")}[system]:
        assert line in asked
    nothing_is_left(standin, tmp_path / "run")


@pytest.mark.full
@pytest.mark.parametrize("system", ["pbs", "lsf"])
def test_a_job_is_cancelled_with_the_run_and_a_full_queue_is_said(system: str, standin: Path, tmp_path: Path) -> None:
    with open_run(flow(system, 100_000), folder=tmp_path / "a") as opened:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "a").glob("journal/add*.blocks")) and time.monotonic() < deadline:
            time.sleep(0.1)
        opened.cancel("enough")
        opened.wait(60)
    nothing_is_left(standin, tmp_path / "a")
    (standin / "full").touch()
    report = run(flow(system, wait_s=2), folder=tmp_path / "b")
    assert report.verdict == "failed"
    assert "did not begin in 2 s: there is no room; " in report.reasons[0]
    assert not [reason for reason in report.reasons if reason.endswith(": ")]
    nothing_is_left(standin, tmp_path / "b")
    (standin / "full").unlink()


@pytest.mark.full
def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    report = run(flow("pbs"), folder=tmp_path / "run")
    assert report.verdict == "failed"
    assert "qsub" in str(report.reasons)


@pytest.mark.full
def test_replicas_leave_before_their_jobs_end_and_join_again_when_the_queue_moves(
        standin: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "run", list[RunStatus]()
    made = Workflow("elastic", sites={"here": Site("here"), "cluster": Site(
        "cluster", "pbs", {"walltime_s": 14, "margin_s": 7}, agents=2)})
    made.add("camera", toys.camera, frames=900, gap_s=0.03, wait_at=850)
    made.add("count", toys.count, "camera", at="any", replicas=3)
    made.add("keep", toys.keep, "count")

    def delivered() -> int:
        return int(seen[-1].frames["delivered"]) if seen else 0

    def replicas() -> int:
        return next(told.replicas for told in seen[-1].operators if told.name == "count")

    with open_run(made, folder=folder, watch=seen.append) as opened:
        until(delivered, 60, "frames are delivered")
        (standin / "full").touch()
        until(lambda: "\n".join(tell(folder)).count("is asked to leave") == 2, 30, "those in jobs are asked to leave")
        for job in ("1.standin", "2.standin"):  # as at the limit, which is whole minutes for a batch system
            subprocess.run(["qdel", job], check=True, timeout=20)
        until(lambda: replicas() == 1, 10, "one is left")
        before = delivered()
        until(lambda: delivered() > before, 10, "the stream goes on")
        (standin / "full").unlink()
        until(lambda: replicas() == 3, 30, "two have joined again")
        (folder / toys.GO).touch()
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert sorted(map(int, (folder / "kept.txt").read_text().split())) == list(range(900))
    told = "\n".join(tell(folder))
    assert "count/3/0 works" in told
    assert "count/4/0 works" in told
    nothing_is_left(standin, folder)
