"""In an allocation of Slurm agents are steps on its nodes; with jobs of their own each has its node; nothing stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from apart import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
FLOW = """
workflow: nodes
sites: {{cluster: {{placer: slurm, agents: 2, exclusive: true, walltime_s: 600, margin_s: 20, {more}}}}}
operators:
  camera: {{use: camlink.testing.toys:camera, frames: {frames}, gap_s: 0.02}}
  count: {{use: camlink.testing.toys:count, from: camera, at: cluster, replicas: 2}}
  add: {{use: camlink.testing.toys:add, from: count}}
"""
CAMLINK = (sys.executable, "-m", "camlink", "run", "flow.yaml", "--no-browser", "--exit", "--folder", "run", "--report",
           "report.json")


def start(folder: Path, *before: str, frames: int = 300, more: str = "") -> subprocess.Popen[str]:
    (folder / "flow.yaml").write_text(FLOW.format(frames=frames, more=more))
    with (folder / "said").open("w") as said:
        return subprocess.Popen([*before, *CAMLINK], cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                text=True)


def works(folder: Path) -> bool:
    return len(list(folder.glob("run/journal/add*.blocks"))) > 0


def steps() -> set[str]:
    """Name and node of the agents that run."""
    said = "".join(subprocess.run(["squeue", "--noheader", *more], capture_output=True, text=True, timeout=20).stdout
                   for more in (("--steps", "--format=%j %N"), ("--format=%j %N",)))
    return {line.strip() for line in said.splitlines() if line.startswith("camlink-cluster")}


def agents(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(
        process.info["cmdline"] or []) and process.pid != os.getpid()]


def sockets_of_the_dead() -> set[Path]:
    return {path for path in Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")).glob("camlink-*")
            if (named := re.fullmatch(r"camlink-(\d+)-\w+", path.name)) and not psutil.pid_exists(int(named[1]))}


@pytest.fixture
def nothing_stays(slurm: Path, tmp_path: Path) -> Iterator[None]:
    """No process, job, key, script, socket or shared memory of the run."""
    shared, before = {path.name for path in Path("/dev/shm").iterdir()}, sockets_of_the_dead()
    yield
    until(lambda: not agents(tmp_path), 30, "no process is left")
    until(lambda: not steps(), 30, "the queue is empty")
    assert [path for name in ("keys/*", "jobs-*") for path in tmp_path.glob(f"run/{name}")] == []
    assert {path.name for path in Path("/dev/shm").iterdir() if "camlink" in path.name} <= shared
    assert sockets_of_the_dead() <= before


def complete(folder: Path, frames: int) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert (report["verdict"], report["reasons"]) == ("complete", []), (folder / "said").read_text()
    assert report["operators"]["add"]["total"] == sum(range(frames))
    assert report["operators"]["count"]["site"] == "cluster.1, cluster.2"


@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.parametrize("how", ["allocation", pytest.param("jobs", marks=pytest.mark.full)])
def test_two_agents_have_a_node_each(tmp_path: Path, how: str) -> None:
    inside = ("salloc", "--quiet", "--nodes=2", "--exclusive", "--time=10") if how == "allocation" else ()
    running = start(tmp_path, *inside, frames=200)
    seen: set[tuple[str, ...]] = set()  # a step that waits has no node yet

    def agents_run() -> bool:
        assert running.poll() is None, (tmp_path / "said").read_text()
        seen.update(words for line in steps() if len(words := tuple(line.split())) == 2)
        return len(seen) >= 2

    until(agents_run, 60, "two agents run")
    assert running.wait(60) == 0, (tmp_path / "said").read_text()
    assert {name for name, _ in seen} == {"camlink-cluster.1", "camlink-cluster.2"}
    assert {node for _, node in seen} == {"node1", "node2"}
    complete(tmp_path, 200)


@pytest.mark.full
@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.parametrize("how", ["allocation", "jobs"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_after_ctrl_c_and_after_the_death_of_the_master(
        tmp_path: Path, how: str, end: signal.Signals) -> None:
    inside = ("salloc", "--quiet", "--nodes=2", "--exclusive", "--time=10") if how == "allocation" else ()
    running = start(tmp_path, *inside, frames=100_000)
    until(lambda: works(tmp_path), 60, "frames are added")
    begun = psutil.Process(running.pid)
    master = next(p for p in [begun, *begun.children(recursive=True)] if p.cmdline()[:4] == list(CAMLINK[:4]))
    master.send_signal(end)
    running.wait(60)
    if end == signal.SIGKILL:
        until(lambda: not agents(tmp_path) and not steps(), 150, "agents find that there is nobody to work for")
        assert not list(tmp_path.glob("run/keys/*/*")) or how == "allocation"  # salloc ends what runs in it
        done = subprocess.run([*CAMLINK[:3], "recover", "run"], cwd=tmp_path, capture_output=True, timeout=160)
        assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("nothing_stays")
def test_a_queue_that_stays_full_is_the_verdict(tmp_path: Path) -> None:
    said = subprocess.run(["sbatch", "--parsable", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 90"],
                          check=True, timeout=20, capture_output=True, text=True, cwd=tmp_path)
    try:
        running = start(tmp_path, more="wait_s: 5")
        assert running.wait(60) == 1
    finally:
        subprocess.run(["scancel", said.stdout.strip()], check=True, timeout=20)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "failed"
    assert re.search(r"the job \d+ of the agent of site 'cluster\.[12]' did not begin in 5 s: (Resources|Priority); "
                     r"it was taken out of the queue", report["reasons"][0])
    told = (tmp_path / "said").read_text()
    assert re.search(r"0 of 3 agents joined|1 of 3 agents joined; cluster\.1: job \d+ is queued", told), told
    assert "psij" not in told  # what it has to say of itself is nobody's business
    tell = subprocess.run([*CAMLINK[:3], "explain", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert re.search(r"the agent 'cluster\.1': job \d+ is queued", tell.stdout), tell.stdout


@pytest.mark.full
@pytest.mark.usefixtures("nothing_stays")
def test_ctrl_c_while_the_job_is_queued_takes_it_out(tmp_path: Path) -> None:
    said = subprocess.run(["sbatch", "--parsable", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 90"],
                          check=True, timeout=20, capture_output=True, text=True, cwd=tmp_path)
    try:
        running = start(tmp_path)
        until(lambda: len(steps()) == 2, 30, "two jobs wait")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 1
        assert steps() == set()
    finally:
        subprocess.run(["scancel", said.stdout.strip()], check=True, timeout=20)


STEPS = """
import asyncio, subprocess, time
from pathlib import Path
from camlink.runtime.place.job import JobSpec
from camlink.runtime.place.srun import SrunSubmitter

HELD, GO, SEEN = Path("held"), Path("go"), Path("seen")

def until(there):
    return f"for _ in $(seq 600); do [ -e {there} ] && exit; sleep 0.1; done; exit 1"

async def follow(name, cpus):
    folder, submitter, seen = Path.cwd(), SrunSubmitter("cluster.1"), []
    spec = JobSpec(argv=("sh", "-c", until(SEEN)), name=name, folder=folder,
                   output=folder / name, cpus=cpus)
    job = await submitter.submit(spec)
    while True:
        status = await submitter.status(job)
        if (said := f"{status.state}: {status.text}") not in seen:
            seen.append(said)
            {"queued": GO, "running": SEEN}.get(status.state, Path("over")).touch()
        if status.state.over:
            return print(name, *seen, sep="|", flush=True)
        await asyncio.sleep(0.1)

with subprocess.Popen(["srun", "--nodes=2", "sh", "-c", f"touch {HELD}; {until(GO)}"]):  # all cores of both nodes
    while not HELD.exists():
        time.sleep(0.05)
    asyncio.run(follow("waits", 1))
    asyncio.run(follow("large", 1000))
"""


@pytest.mark.usefixtures("slurm")
def test_a_step_that_waits_for_cores_is_queued_and_one_that_cannot_begin_says_why(tmp_path: Path) -> None:
    done = subprocess.run(["salloc", "--quiet", "--nodes=2", "--exclusive", "--time=5", sys.executable, "-c", STEPS],
                          cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    waits, large = done.stdout.splitlines()
    assert re.fullmatch(r"waits\|queued: it waits for cores of this allocation.*\|running: \|done: .*", waits), waits
    assert re.fullmatch(r"large\|.*failed: srun ended with code 1: .*More processors requested than permitted", large)
