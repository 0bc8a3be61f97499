"""One workflow over sites: agents start as Slurm jobs and through ssh, dial outward, work, and leave nothing."""

from __future__ import annotations

import getpass
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import zmq
from apart import until

from camlink.carry.far.keys import make_keys, write_keys
from camlink.carry.far.ticket import ASKING_BYTES
from camlink.display.live import Live
from camlink.display.web.access import Role
from camlink.display.web.server import PageServer
from camlink.errors import InputError
from camlink.runtime import states
from camlink.runtime.messages import Bye, Joined, Launch, Ready, WorkerSpec, decode, encode
from camlink.runtime.place import remote
from camlink.runtime.reach.dial import AGENT, MASTER
from camlink.runtime.reach.landing import Landing
from camlink.runtime.run import open_run, run
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def flow(site: Site, **camera: Any) -> Workflow:
    made = Workflow("sites", sites={"here": Site("here"), site.name: site})
    frames = made.add("camera", toys.camera, **{"frames": 40, "at": site.name, **camera})
    count = made.add("count", toys.count, frames, at=site.name)
    added = made.add("add", toys.add, count, at=site.name)
    made.add("look", toys.look, added, policy="latest")
    return made


def agents() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[:1] == [sys.executable] and "agent" in words and "--join" in words:
            found.append(process)
    return found


def nothing_left(*, queued: bool = False) -> None:
    """No agent, and no job where there may have been some."""
    until(lambda: not agents(), 30, "no agent is left")
    if queued:
        until(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True, timeout=20, check=True).stdout,
              30, "the queue is empty")


def test_an_agent_runs_as_a_job_of_slurm(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    report = run(flow(Site("cluster", "slurm", {"walltime_s": 600})), folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(40))
    nothing_left(queued=True)
    assert list((tmp_path / "run/keys").iterdir()) == []
    assert not (tmp_path / "run/jobs-cluster").exists()


@pytest.mark.full
def test_before_the_walltime_of_a_job_ends_the_next_one_goes_on(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    site = Site("cluster", "slurm", {"walltime_s": 60, "margin_s": 50})
    report = run(flow(site, frames=200, gap_s=0.23), folder=tmp_path / "run")  # 46 s; half of its time an agent works
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(200))
    assert sorted(r["operator"] for r in report.restarts) == ["add", "camera", "count"]
    assert all("the time of the agent 'cluster' soon ends" in r["reason"] for r in report.restarts)
    nothing_left(queued=True)


@pytest.mark.full
@pytest.mark.parametrize("how", ["cancelled", "silent"])
def test_a_job_that_is_cancelled_or_silent_is_asked_for_again(
        slurm: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    monkeypatch.setattr(states, "FAR_SILENCE_S", 5.0)
    folder = tmp_path / "run"
    with open_run(flow(Site("cluster", "slurm", {}), frames=200, gap_s=0.05), folder=folder) as opened:
        until(lambda: list(folder.glob("journal/add*.blocks")), 60, "frames are added")
        time.sleep(2)
        if how == "cancelled":
            subprocess.run(["scancel", "--user", getpass.getuser()], check=True, timeout=20)
        else:
            agents()[0].suspend()
        report = opened.wait(120)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.frames["delivered"] == report.operators["add"]["distinct"] == 200
    assert sorted(r["operator"] for r in report.restarts) == ["add", "camera", "count"]
    nothing_left(queued=True)


@pytest.mark.full
def test_a_job_whose_agent_does_not_come_is_said(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    monkeypatch.setattr(remote, "COME_S", 3.0)
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "python").chmod(0o755)
    report = run(flow(Site("cluster", "slurm", {"python": str(tmp_path / "python")})), folder=tmp_path / "run")
    assert report.verdict == "failed"
    assert re.search(r"runs, but its agent did not come in 3 s: can its machine dial tcp://127\.0\.0\.1:\d+\? What",
                     report.reasons[0])
    nothing_left(queued=True)


def test_an_agent_runs_behind_a_jump_host(sshd: Any, tmp_path: Path) -> None:
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    jump = {"host": "127.0.0.1", "port": sshd.login, **way}
    site = Site("beamline", "ssh", {"host": "127.0.0.1", "port": sshd.node, "jump": [jump], **way})
    with open_run(flow(site, at="here", wait_at=20), folder=tmp_path / "run") as opened:
        master = opened._master
        until(lambda: (placer := master._placers.get("beamline")) and placer._landing and placer._landing.met, 60,
              "the agent has come")  # and before the run can end strangers knock
        for port in (master._placers["beamline"]._landing.port, master._harbour.port):
            with socket.create_connection(("127.0.0.1", port)) as stranger, suppress(ConnectionResetError):
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n".ljust(ASKING_BYTES))
                while stranger.recv(100):
                    pass
        (tmp_path / "run" / toys.GO).touch()
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(40))
    assert report.control_refused == 2
    told = "\n".join(tell(tmp_path / "run"))
    assert re.search(r"the port \d+ for the agent of 'beamline' turned 1 away, the last from .*protocol$",
                     told, re.MULTILINE)
    assert re.search(r"the relay of this run, port \d+ turned 1 .* from 127\.0\.0\.1:\d+: a wrong ticket, or none$",
                     told, re.MULTILINE)
    nothing_left()


def test_cancelling_a_run_ends_the_job(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    with open_run(flow(Site("cluster", "slurm", {}), frames=100_000, gap_s=0.01), folder=tmp_path / "run") as opened:
        until(agents, 60, "there is an agent")
        time.sleep(1)
        opened.cancel("enough")
        opened.wait(60)
    nothing_left(queued=True)


def test_a_host_that_does_not_let_us_in_is_said(sshd: Any, tmp_path: Path) -> None:
    pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
    (tmp_path / "none").write_text("")
    site = Site("beamline", "ssh", {"host": "127.0.0.1", "port": sshd.node, "known_hosts": str(tmp_path / "none")})
    report = run(flow(site), folder=tmp_path / "run")
    assert report.verdict == "failed"
    assert "its host key is not in" in str(report.reasons)


def test_options_that_a_placer_does_not_know_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"option of site cluster \(slurm\) 'wall'.*known: account, address"):
        run(flow(Site("cluster", "slurm", {"wall": 1})), folder=tmp_path / "run")


class Side:
    """A master's socket, and a landing for the agents of one site."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.master = self.context.socket(zmq.ROUTER)
        self.master.bind(f"ipc://{folder}/master")
        self.keys = make_keys("r", {MASTER: [AGENT], AGENT: [MASTER]})
        self.landing = Landing("far", f"ipc://{folder}/master", self.keys[MASTER])
        (folder / "keys").mkdir(mode=0o700)
        self.key = write_keys(self.keys[AGENT], folder / "keys")

    def agent(self, *more: str, key: Path | None = None, site: str = "far") -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", "camlink", "agent", "--join", self.landing.address, "--key",
                                 str(key or self.key), "--site", site, *more], stderr=subprocess.PIPE, text=True)

    def hears(self, wanted: type, limit_s: float = 60) -> Any:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.master.poll(100):
                parts = self.master.recv_multipart()
                if isinstance(message := decode(parts[-1]), wanted):
                    return message
        return None

    def close(self) -> None:
        self.landing.close()
        self.master.close(linger=0)
        self.context.term()


@pytest.mark.full
def test_what_stands_for_the_folder_of_the_run_outlives_a_lost_agent(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMLINK_SCRATCH", str(tmp_path))
    side, folder = Side(tmp_path), tmp_path / "camlink-run-one"
    spec = WorkerSpec(operator="keep", replica=0, where="camlink.testing.toys:keep", kind="sink", parameters={},
                      inputs=(), outputs=(), folder="/no/such/folder", sockets="/no/such/one", provenance={})
    for attempt, (bye, is_left) in enumerate(((None, True), (Bye(relieved=True), True), (Bye(), False))):
        agent = side.agent()
        assert side.hears(Joined) is not None
        side.master.send_multipart([b"far", b"", encode(Launch(spec=msgspec.structs.replace(spec, attempt=attempt)))])
        assert side.hears(Ready).attempt == attempt
        assert (folder / "log/keep.log").exists()
        if bye is None:
            agent.kill()
        else:
            side.master.send_multipart([b"far", b"", encode(bye)])
        agent.communicate(timeout=20)
        assert folder.exists() == is_left
    side.close()


def test_an_agent_says_what_it_has_and_goes_when_it_is_told(tmp_path: Path) -> None:
    side = Side(tmp_path)
    started = side.agent()
    joined = side.hears(Joined)
    assert joined is not None
    assert joined.has.cores == len(os.sched_getaffinity(0))
    assert joined.has.disk_bytes > 0
    assert joined.has.versions["python"] == sys.version.split()[0]
    assert joined.has.walltime_left_s is None
    side.master.send_multipart([b"far", b"", encode(Bye())])
    _, complained = started.communicate(timeout=20)
    assert (started.returncode, complained) == (0, "")
    side.close()


def test_an_agent_with_another_key_or_for_another_site_is_not_heard(tmp_path: Path) -> None:
    side = Side(tmp_path)
    (tmp_path / "other").mkdir(mode=0o700)
    other = make_keys("r", {MASTER: [AGENT], AGENT: [MASTER]})[AGENT]
    thief = side.agent(key=write_keys(other, tmp_path / "other"))
    stray = side.agent(site="elsewhere")
    strayed = "it has the key of this run, but is the agent of another site"
    stolen = {"it took us for another, or speaks without a key", "it broke off, or was silent"}
    told: set[str] = set()

    def both_are_told() -> bool:
        told.update(refused.reason for refused in side.landing.news(last=True))
        return strayed in told and bool(told & stolen)

    until(both_are_told, 60, "both are turned away")
    assert side.hears(Joined, 1) is None
    for process in (thief, stray):
        process.terminate()
        process.communicate(timeout=20)
    side.key.chmod(0o644)
    open_key = side.agent()
    _, complained = open_key.communicate(timeout=20)
    assert (open_key.returncode, "0600" in complained) == (2, True)
    side.close()


def test_dashboards_of_clusters_behind_ssh_and_in_jobs_are_seen_through_the_page(
        slurm: Path, sshd: Any, tmp_path: Path) -> None:
    for package in ("asyncssh", "psij", "distributed", "bokeh"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[sites,dashboard]'")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    made = Workflow("spread", sites={
        "here": Site("here"), "cluster": Site("cluster", "slurm", dask=1, dashboard=True),
        "there": Site("there", "ssh", {"host": "127.0.0.1", "port": sshd.node, **way}, dask=1, dashboard=True)})
    frames = made.add("camera", toys.camera, frames=3, at="there")
    made.add("spread", toys.spread, frames, pieces=600, at="cluster")
    with PageServer(Live()) as page, open_run(made, folder=tmp_path / "run") as opened:
        page.dashboards |= opened.dashboards
        for site, pages in opened.dashboards.items():
            status = f"{pages.prefix}/status"
            until(lambda status=status: b"bokeh" in look(page, status), 90, f"the dashboard of {site} is there")
            assert Path(pages.socket).stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as line:  # the relay and what is on the way see TLS, and no pages
                line.settimeout(20)
                line.connect(pages.socket)
                line.sendall(f"GET {status} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                with suppress(ConnectionResetError):
                    assert b"HTTP" not in line.recv(65536)
        opened.cancel(force=True)
        opened.wait(60)
    assert not any(Path(pages.socket).exists() for pages in opened.dashboards.values())
    nothing_left()


def look(page: PageServer, path: str) -> bytes:
    """What the page shows an operator, or nothing while nobody answers."""
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)) as line:
        line.request("GET", path, headers={"Authorization": f"Bearer {page.access.invite(Role.OPERATOR)}"})
        with line.getresponse() as got:
            data = got.read()
            return data if got.status == 200 else b""


def test_a_stream_goes_from_one_machine_to_another_and_to_the_page(slurm: Path, sshd: Any, tmp_path: Path) -> None:
    """Camera behind ssh, work on a Slurm node, the rest here: the links cross, encrypted, nothing is lost.

    In a moment of noise a way may answer later than it is waited for; then it is shown once more.
    """
    for package in ("psij", "asyncssh"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[sites]'")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    beamline = Site("beamline", "ssh", {"host": "127.0.0.1", "port": sshd.node, "listen": "127.0.0.1", **way})
    answered: set[tuple[str, str]] = set()
    for turn in range(3):
        answered |= answers(split(beamline), tmp_path / f"run{turn}")
        nothing_left(queued=True)
        if answered >= {("camera->look", "direct"), ("camera->look", "ssh"), ("camera->look", "relay"),
                        ("count->add", "direct")}:
            return
    pytest.fail(f"only these ways answered in three runs: {answered}")


def split(beamline: Site) -> Workflow:
    here = Site("here", options={"listen": "127.0.0.1"})
    made = Workflow("split", sites={"here": here, "cluster": Site("cluster", "slurm"), "beamline": beamline})
    frames = made.add("camera", toys.camera, at="beamline", frames=300, gap_s=0.005)
    count = made.add("count", toys.count, frames, at="cluster", replicas=2)
    added = made.add("add", toys.add, count)
    made.add("look", toys.look, frames, added, policy="latest")
    return made


def answers(made: Workflow, folder: Path) -> set[tuple[str, str]]:
    """Which ways of which links answered when they were tried; everything else holds in every run."""
    report = run(made, folder=folder)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(300))
    kinds = {link["name"]: link["kind"] for link in report.links}
    assert kinds["camera->count"] == kinds["count->add"] == kinds["camera->look"] == "far"
    assert kinds["add->look"] != "far"
    paths = {link["name"]: link["paths"] for link in report.links}
    assert sorted(path.receiver for path in paths["camera->count"]) == ["count/0", "count/1"]
    assert {way.partition(" ")[0] for path in paths["camera->count"] for way in path.tried} == {"direct", "relay"}
    for path in paths["count->add"]:  # nobody can dial its sender, which dials
        assert [way.endswith(", dialled by the sender") for way in sorted(path.tried)] == [True, False]
        assert {way.partition(" ")[0] for way in path.tried} == {"direct", "relay"}
    for link in report.links:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
    return {(name, way.partition(" ")[0]) for name in ("camera->look", "count->add") for path in paths[name]
            for way, said in path.tried.items() if said != "no answer"}
