"""A real Dask cluster of two workers: encrypted, without open pages, and it goes on when workers do not."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from camlink.display.live import Live
from camlink.display.web.ordering import actions_of
from camlink.display.web.server import PageServer
from camlink.errors import Closed, OperatorFailed, PeerLost
from camlink.runtime.cluster import clusters, side
from camlink.runtime.cluster.certificates import Authority
from camlink.runtime.cluster.client import open_executor
from camlink.runtime.cluster.side import ClusterSide, entrance_of
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import JoinCluster, StartScheduler
from camlink.runtime.run import open_run
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytest.importorskip("distributed", reason="Dask distributed is not installed: pip install -e '.[sites]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]

SHOWS = """word => [...(window.Bokeh?.documents?.[0]?._all_models?.values() ?? [])].some(model =>
    ["name", "all"].some(column => model.get_column && [...(model.get_column(column) ?? [])].includes(word)))"""
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"


class Cluster:
    """The side of one agent, looked at as its loop does, and the executor of an operator."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.side = ClusterSide("a", folder, take_inventory(folder))
        self.passes = Authority().issue()
        self.side.obey(StartScheduler(own=self.passes["scheduler"]))
        self.address = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self.executor = open_executor(entrance_of(folder, "here"))
        self.submit, self.map, self.tally = self.executor.submit, self.executor.map, self.executor.tally

    def _look(self) -> None:
        while not self._closing.wait(0.1):
            up = self.side.look()
            if up is not None:
                self.address = up.address
                self.side.obey(JoinCluster(cluster="here", address=up.address, workers=2, own=self.passes["worker"],
                                           client=self.passes["client"]))

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self.side._workers]

    def close(self) -> None:
        self.executor.close()
        self._closing.set()
        self._thread.join()
        self.side.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    pids = cluster.pids
    cluster.close()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def until(true: Callable[[], Any], limit_s: float) -> None:
    """Wait until something is true; of our own, since the workers import this file too."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def ended_s(seconds: float) -> float:
    time.sleep(seconds)
    return time.monotonic()


def fail(text: str) -> None:
    raise ValueError(text)


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def size(data: bytes) -> int:
    return len(data)


def is_whole(cluster: Cluster) -> None:
    """Wait until both workers have worked."""
    deadline = time.monotonic() + 60
    while {handle.result(30) for handle in cluster.map(nap, [0.3] * 4)} != set(cluster.pids):
        assert time.monotonic() < deadline


def test_work_goes_to_every_worker_and_results_stay_there(cluster: Cluster) -> None:
    is_whole(cluster)
    before = cluster.tally().done
    large = cluster.submit(bytes, 1 << 20)
    assert cluster.submit(size, large).result(30) == 1 << 20
    with pytest.raises(OperatorFailed, match="ValueError: no beam"):
        cluster.submit(fail, "no beam").result(30)
    assert cluster.tally() == (0, before + 2, 1, 0)
    long = cluster.submit(nap, 60)
    with pytest.raises(PeerLost):
        long.result(0.2)
    long.cancel()
    with pytest.raises(Closed):
        long.result(10)


def test_what_is_more_important_goes_first(cluster: Cluster) -> None:
    busy = cluster.map(nap, [1.0, 1.0])
    low = cluster.map(ended_s, [0.2] * 8, priority=-5)
    high_s = cluster.submit(ended_s, 0.0, priority=5).result(30)
    assert max(handle.result(30) for handle in low) > high_s
    assert all(handle.result(30) for handle in busy)


def listeners() -> list[tuple[int, str, int]]:
    me = psutil.Process()
    return [(process.pid, c.laddr.ip, c.laddr.port) for process in (me, *me.children(recursive=True))
            for c in process.net_connections("inet") if c.status == "LISTEN"]


def test_every_port_is_on_loopback_and_refuses_who_has_no_certificate(cluster: Cluster) -> None:
    from distributed import Client

    is_whole(cluster)
    found = listeners()
    assert found
    assert all(host == "127.0.0.1" for _, host, _ in found)
    for _, host, port in found:
        with socket.create_connection((host, port), timeout=5) as dialled:
            dialled.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            dialled.settimeout(5)
            try:
                answer = dialled.recv(100)
            except (TimeoutError, ConnectionResetError):
                answer = b""
        assert b"HTTP" not in answer, port
    for scheme in ("tcp", "tls"):
        with pytest.raises((OSError, TypeError, ValueError, RuntimeError)):
            Client(f"{scheme}://{cluster.address.partition('://')[2]}", timeout="3s")
    assert cluster.submit(nap, 0.0).result(30) in cluster.pids


def test_a_worker_that_is_killed_costs_time_and_a_task_that_kills_is_given_up(cluster: Cluster) -> None:
    handles = cluster.map(nap, [0.5] * 4)
    until(lambda: cluster.pids, 30)
    time.sleep(0.2)
    os.kill(cluster.pids[0], signal.SIGKILL)
    assert len([handle.result(60) for handle in handles]) == 4
    with pytest.raises(OperatorFailed, match="ended every process"):
        cluster.submit(die, 0).result(90)
    assert cluster.submit(nap, 0.0).result(60)


def test_a_worker_whose_end_nobody_tells_is_replaced_and_holds_nobody_up(
        cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from held import held  # the workers import this file too

    is_whole(cluster)
    monkeypatch.setattr(side, "SILENT_S", 3.0)
    first = cluster.pids[0]
    with held(first):
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while cluster.pids[0] == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    os.waitpid(first, 0)  # told at last


def test_work_that_goes_down_with_its_scheduler_is_said_to_be_lost(cluster: Cluster) -> None:
    is_whole(cluster)
    handle = cluster.submit(nap, 60)
    (scheduler,) = parts("scheduler")
    before = cluster.address
    os.kill(scheduler, signal.SIGKILL)
    with pytest.raises(PeerLost, match="scheduler of this cluster is gone"):
        handle.result(60)
    deadline = time.monotonic() + 30
    while cluster.address == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cluster.address != before


def parts(role: str) -> list[int]:
    words = ("camlink.runtime.cluster.process", role)
    mine = {p.pid for p in psutil.Process().children(recursive=True)}
    return [p.pid for p in psutil.process_iter(["cmdline"])
            if p.pid in mine and set(words) <= set(p.info["cmdline"] or ())]


def flow(dask: bool | int, agents: int, pieces: int) -> Workflow:
    made = Workflow("spread", sites={"here": Site("here", agents=agents, dask=dask)})
    made.add("spread", toys.spread, made.add("camera", toys.camera, frames=3), pieces=pieces)
    return made


def test_an_operator_uses_the_workers_of_all_agents_of_its_site_and_lost_ones_are_replaced(tmp_path: Path) -> None:
    """Two agents with a worker each; one worker is killed and the other stopped while their work is under way."""
    with open_run(flow(1, 2, 80), folder=tmp_path / "run") as opened:
        def done() -> int:
            told = [one.facts for one in opened.status.operators if one.name == "spread"] if opened.status else []
            return sum(facts.get("work", {}).get("done", 0) for facts in told)

        until(lambda: done() and len(parts("worker")) == 2, 90)
        first, second = parts("worker")
        os.kill(first, signal.SIGKILL)
        until(lambda: set(parts("worker")) - {first, second}, 60)
        os.kill(second, signal.SIGSTOP)
        report = opened.wait(150)
    assert (report.verdict, report.reasons) == ("complete", ())
    told = report.operators["spread"]
    assert told["total"] == sum(range(80))
    assert told["here"] == 0
    assert told["work"] == {"waiting": 0, "done": 80, "failed": 0, "cancelled": 0}
    assert parts("worker") == parts("scheduler") == []


@pytest.mark.full
def test_an_agent_that_is_lost_with_the_scheduler_leaves_no_worker_behind(tmp_path: Path) -> None:
    """The other agent takes the scheduler, and its worker works on; a successor comes if the first hosted operators."""
    with open_run(flow(1, 2, 80), folder=tmp_path / "run") as opened:
        deadline = time.monotonic() + 60
        while len(parts("worker")) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        (scheduler,) = parts("scheduler")
        os.kill(psutil.Process(scheduler).ppid(), signal.SIGKILL)
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    told, agents = report.operators["spread"], 1 + ("next1' joined" in "\n".join(tell(tmp_path / "run")))
    assert (told["total"], told["processes"], told["here"]) == (sum(range(80)), agents, 0)
    assert parts("worker") == parts("scheduler") == []


@pytest.mark.full
def test_who_comes_after_the_first_life_of_the_certificates_is_let_in(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both workers are killed then: others come, to a scheduler and an operator that live on."""
    monkeypatch.setattr(clusters, "LIFE", timedelta(seconds=8))
    with open_run(flow(2, 1, 120), folder=tmp_path / "run") as opened:
        deadline = time.monotonic() + 60
        while len(first := parts("worker")) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(9)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        report = opened.wait(60)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["spread"]["total"] == sum(range(120))


@pytest.mark.full
def test_the_dashboard_of_a_cluster_is_seen_through_the_login_of_the_page_alone(tmp_path: Path, browser: Any) -> None:
    pytest.importorskip("bokeh", reason="Bokeh is not installed: pip install -e '.[dashboard]'")
    made = Workflow("spread", sites={"here": Site("here", dask=2, dashboard=True)})
    made.add("spread", toys.spread, made.add("camera", toys.camera, frames=3), pieces=60)
    live = Live()
    with PageServer(live) as server, open_run(made, folder=tmp_path, screen=live, watch=live.put_status) as opened:
        server.dashboards |= opened.dashboards
        server.actions |= actions_of(opened.order, opened.choices)
        pages = Path(server.dashboards["here"].socket)
        deadline = time.monotonic() + 60
        while not pages.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert pages.stat().st_mode & 0o777 == 0o600
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        refused: list[str] = []
        page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)
        page.goto(server.invitation)
        page.get_by_test_id("tab-control").click()
        with page.context.expect_page() as opening:
            page.get_by_test_id("dask-here").click()
        opening.value.wait_for_function(SHOWS, arg="nap")  # what the workers do, which came by the web socket
        ARTEFACTS.mkdir(exist_ok=True)
        opening.value.screenshot(path=ARTEFACTS / "dask.png")
        assert refused == []
        (scheduler,) = parts("scheduler")
        assert len([c for c in psutil.Process(scheduler).net_connections("tcp") if c.status == "LISTEN"]) == 1
        opened.cancel(force=True)
        opened.wait(30)
    assert not pages.exists()


def test_without_a_cluster_the_same_operator_uses_threads(tmp_path: Path) -> None:
    with open_run(flow(False, 1, 6), folder=tmp_path / "run") as opened:
        report = opened.wait(60)
    assert report.verdict == "complete"
    assert (report.operators["spread"]["total"], report.operators["spread"]["here"]) == (15, 6)
