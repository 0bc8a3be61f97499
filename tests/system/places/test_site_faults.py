"""What breaks between the sites of a run: it recovers and loses nothing, or says why it cannot; all times in JSON."""

from __future__ import annotations

import getpass
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from apart import Apart, until

from camlink.runtime.reach import harbour
from camlink.runtime.report import Report
from camlink.runtime.run import open_run
from camlink.runtime.status import RunStatus
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
FRAMES = 500
SCRIPT = str(Path(__file__).parents[1] / "apart_run.py")


def keep(name: str, **figures: Any) -> None:
    """Add figures to the JSON file that CAMLINK_SITE_FAULTS names, where it does."""
    if path := os.environ.get("CAMLINK_SITE_FAULTS"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"fault": name, **figures}) + "\n")


def assert_law(links: list[dict[str, Any]]) -> None:
    for link in links:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
        assert link["in_flight"] == 0


def cut(apart: Apart, _: subprocess.Popen[str], for_s: float) -> float:
    """Break something for a while; the moment from which on it is mended."""
    apart.cut()
    time.sleep(for_s)
    over_s = time.monotonic()
    apart.mend()
    return over_s


def restart_relay(apart: Apart, _: subprocess.Popen[str], for_s: float) -> float:
    apart.kill_relay()
    time.sleep(for_s)
    over_s = time.monotonic()
    apart.start_relay()
    return over_s


def asleep(_: Apart, master: subprocess.Popen[str], for_s: float) -> float:
    master.send_signal(signal.SIGSTOP)
    time.sleep(for_s)
    over_s = time.monotonic()
    master.send_signal(signal.SIGCONT)
    return over_s


BETWEEN: list[Any] = [
    pytest.param(cut, 3.0, id="cut-3s"),
    pytest.param(cut, 10.0, id="cut-10s", marks=pytest.mark.full),
    pytest.param(restart_relay, 0.5, id="relay-restarted"),
    pytest.param(asleep, 8.0, id="master-asleep-8s"),
    pytest.param(asleep, 30.0, id="master-asleep-30s", marks=pytest.mark.full),
    pytest.param(cut, 30.0, id="cut-30s", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("fault", "for_s"), BETWEEN)
def test_what_breaks_between_sites_costs_time_and_no_frame(
        apart: Apart, tmp_path: Path, fault: Callable[..., float], for_s: float,
        request: pytest.FixtureRequest) -> None:
    sites = {"beamline": apart.site(), "cluster": apart.site()}
    (tmp_path / "sites.yaml").write_text(json.dumps({"sites": sites, "at": {"camera": "beamline", "count": "cluster"}}))
    run, seen, log = tmp_path / "run", tmp_path / "run.seen", tmp_path / "log"
    master = apart.start("laptop", sys.executable, SCRIPT, "sites.yaml", str(run), str(FRAMES), "0.01", output=log,
                         cwd=tmp_path)
    apart.join(run)
    until(lambda: seen.exists() and seen.read_text(), 60, "frames are delivered")
    began_s = time.monotonic()
    over_s = fault(apart, master, for_s)
    assert master.wait(150) == 0, log.read_text()
    delivered = [json.loads(line)[0] for line in seen.read_text().splitlines()]
    recovered_s = next(at_s for at_s in delivered if at_s > over_s)
    report = json.loads((tmp_path / "run.json").read_text())
    keep(request.node.callspec.id, cut_s=round(over_s - began_s, 2), recovered_s=round(recovered_s - over_s, 2),
         verdict=report["verdict"], repeated=sum(told.get("repeated", 0) for told in report["operators"].values()))
    assert (report["verdict"], report["reasons"]) == ("complete", [])
    assert report["operators"]["add"]["total"] == sum(range(FRAMES))
    assert_law(report["links"])
    until(lambda: "camlink" not in apart.call("head", "squeue", "--noheader", "--format=%j"), 20, "the queue is empty")
    until(lambda: not agents_of(str(run)), 20, "no agent is left")


def agents_of(words: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"])
            if (line := process.info["cmdline"] or [])[:1] == [sys.executable] and "--join" in line and "agent" in line
            and words in " ".join(line)]


def kill_agent() -> None:
    for process in agents_of("--site beamline"):
        process.kill()


def kill_cluster_agent() -> None:
    for process in agents_of("--site cluster"):
        process.kill()


def cancel_job() -> None:
    subprocess.run(["scancel", "--user", getpass.getuser()], check=True, timeout=20)


@pytest.mark.parametrize("fault", [pytest.param(kill_cluster_agent, id="agent-killed", marks=pytest.mark.full),
                                   pytest.param(cancel_job, id="node-lost")])
def test_an_agent_that_is_lost_is_replaced(slurm: Path, tmp_path: Path, fault: Callable[[], None],
                                           request: pytest.FixtureRequest) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    made = Workflow("lost", sites={"here": Site("here"), "cluster": Site("cluster", "slurm")})
    frames = made.add("camera", toys.camera, frames=FRAMES, gap_s=0.01, wait_at=FRAMES - 1)
    made.add("add", toys.add, made.add("count", toys.count, frames, at="cluster"))
    folder, seen = tmp_path / "run", list[tuple[float, int]]()

    def watch(status: RunStatus) -> None:
        delivered = int(status.frames.get("delivered", 0))
        if delivered > (seen[-1][1] if seen else 0):
            seen.append((time.monotonic(), delivered))

    with open_run(made, folder=folder, watch=watch) as opened:
        until(lambda: seen, 60, "frames are delivered")
        began_s = time.monotonic()
        fault()
        until(lambda: '"AgentLost"' in (folder / "events.jsonl").read_text(), 60, "the agent is lost")
        (folder / toys.GO).touch()  # the run has not ended before
        report: Report = opened.wait(120)
    after = [began_s, *(at for at, _ in seen if at > began_s)]
    longest_s = max(later - at for at, later in itertools.pairwise(after))
    keep(request.node.callspec.id, longest_gap_s=round(longest_s, 2), verdict=report.verdict, reasons=report.reasons,
         agents=report.agents)
    assert report.verdict == "complete", report.reasons
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert_law(list(report.links))
    until(lambda: not agents_of(str(tmp_path)), 20, "no agent is left")
    until(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True, timeout=20, check=True).stdout, 20,
          "the queue is empty")


@pytest.mark.full
def test_a_source_that_resumes_outlives_its_agent(sshd: Any, tmp_path: Path) -> None:
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    made = Workflow("lost", sites={"here": Site("here"), "beamline": Site("beamline", "ssh", {
        "host": "127.0.0.1", "port": sshd.node, **way})})
    made.add("add", toys.add, made.add("count", toys.count, made.add(
        "camera", toys.camera, at="beamline", frames=FRAMES, gap_s=0.01)))
    seen: list[int] = []
    with open_run(made, folder=tmp_path / "run", watch=lambda s: seen.append(int(s.frames["delivered"]))) as opened:
        until(lambda: seen and seen[-1], 30, "frames are delivered")
        kill_agent()
        report = opened.wait(120)
    keep("source-agent-killed", verdict=report.verdict, reasons=report.reasons, frames=report.frames)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert_law(list(report.links))
    until(lambda: not agents_of("--site beamline"), 20, "no agent is left")


def test_who_comes_after_the_first_life_of_the_keys_is_linked(
        sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker there is replaced when the keys that the run began with are over; those ends that lived on admit it."""
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    monkeypatch.setattr(harbour, "LEASE_S", 4.0)
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    made = Workflow("old", sites={"here": Site("here"), "beamline": Site("beamline", "ssh", {
        "host": "127.0.0.1", "port": sshd.node, **way})})
    made.add("add", toys.add, made.add("count", toys.count, made.add(
        "camera", toys.camera, frames=FRAMES, gap_s=0.01, wait_at=FRAMES - 1), at="beamline"))
    seen: list[int] = []
    with open_run(made, folder=tmp_path / "run", watch=lambda s: seen.append(int(s.frames["delivered"]))) as opened:
        over_s = time.monotonic() + harbour.LEASE_S
        until(lambda: seen and seen[-1] > 0 and time.monotonic() > over_s, 60, "frames are delivered with other keys")
        told = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().split("\n")[:-1]]
        os.kill(next(event["event"]["pid"] for event in told if event["event"].get("type") == "Ready"
                     and event["event"]["operator"] == "count"), signal.SIGKILL)
        (tmp_path / "run" / toys.GO).touch()  # the run has not ended before
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert [restart["operator"] for restart in report.restarts] == ["count"]
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert [link["turned_away"] for link in report.links] == [{}] * len(report.links)
    assert_law(list(report.links))
    assert set(re.findall(r'"passage":"([^"]*)"', (tmp_path / "run" / "events.jsonl").read_text())) <= {""}  # secret


@pytest.mark.full
def test_a_full_queue_is_waited_for(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    subprocess.run(["sbatch", "--job-name=other", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 60"],
                   check=True, timeout=20, capture_output=True, cwd=tmp_path)
    made = Workflow("queue", sites={"here": Site("here"), "cluster": Site("cluster", "slurm")})  # wait_s: an hour
    made.add("add", toys.add, made.add("count", toys.count, made.add("camera", toys.camera, frames=40), at="cluster"))
    said: list[str] = []
    with open_run(made, folder=tmp_path / "run", watch=lambda s: said.append(s.steps[0].text)) as opened:
        threading.Timer(4.0, lambda: subprocess.run(["scancel", "--name=other"], check=True, timeout=20)).start()
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    waits = [text for text in said if re.search(r" of 2 agents joined; cluster: job \d+ is queued: (Res|Prio)", text)]
    assert len(waits) > 20  # ten times a second
