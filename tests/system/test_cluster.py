"""A real Dask cluster of two workers: encrypted, without open pages, and it goes on when workers do not."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from camlink.errors import Closed, InputError, OperatorFailed, PeerLost
from camlink.runtime.cluster import Cluster

pytest.importorskip("distributed", reason="Dask distributed is not installed: pip install -e '.[sites]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(2, tmp_path) as cluster:
        yield cluster
    assert not [pid for pid in cluster.pids if psutil.pid_exists(pid)]


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def fail(text: str) -> None:
    raise ValueError(text)


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def size(data: bytes) -> int:
    return len(data)


def test_work_goes_to_every_worker_and_results_stay_there(cluster: Cluster) -> None:
    assert {handle.result(30) for handle in cluster.map(nap, [0.3] * 4)} == set(cluster.pids)
    large = cluster.submit(bytes, 1 << 20)
    assert cluster.submit(size, large).result(30) == 1 << 20
    with pytest.raises(OperatorFailed, match="ValueError: no beam"):
        cluster.submit(fail, "no beam").result(30)
    assert cluster.tally() == (0, 6, 1, 0)
    long = cluster.submit(nap, 60)
    with pytest.raises(PeerLost):
        long.result(0.2)
    long.cancel()
    with pytest.raises(Closed):
        long.result(10)


def test_what_is_more_important_goes_first(cluster: Cluster) -> None:
    busy = cluster.map(nap, [1.0, 1.0])
    low = cluster.map(nap, [0.2] * 8, priority=-5)
    high = cluster.submit(nap, 0.0, priority=5)
    high.result(30)
    assert sum(handle.state == "done" for handle in low) < len(low)
    assert all(handle.result(30) for handle in (*busy, *low))


def listeners() -> list[tuple[int, str, int]]:
    me = psutil.Process()
    return [(process.pid, c.laddr.ip, c.laddr.port) for process in (me, *me.children(recursive=True))
            for c in process.net_connections("inet") if c.status == "LISTEN"]


def test_every_port_is_on_loopback_and_refuses_who_has_no_certificate(cluster: Cluster) -> None:
    from distributed import Client

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
            Client(f"{scheme}://{cluster._cluster.scheduler_address.partition('://')[2]}", timeout="3s")
    assert cluster.submit(nap, 0.0).result(30) in cluster.pids


def test_a_worker_that_is_stopped_is_found_and_its_work_done_elsewhere(cluster: Cluster) -> None:
    before = set(cluster.pids)
    handles = cluster.map(nap, [1.0, 1.0])
    time.sleep(0.3)
    victim = cluster.pids[0]
    os.kill(victim, signal.SIGSTOP)
    assert victim not in {handle.result(60) for handle in handles}
    deadline = time.monotonic() + 30
    while len(set(cluster.pids) - {victim}) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(cluster.pids) == len(before) == 2
    assert victim not in cluster.pids
    assert cluster.replaced == 1


def test_a_worker_that_is_killed_costs_time_and_a_task_that_kills_is_given_up(cluster: Cluster) -> None:
    handles = cluster.map(nap, [0.5] * 4)
    time.sleep(0.2)
    os.kill(cluster.pids[0], signal.SIGKILL)
    assert len([handle.result(60) for handle in handles]) == 4
    with pytest.raises(OperatorFailed, match="ended every process"):
        cluster.submit(die, 0).result(90)
    assert cluster.submit(nap, 0.0).result(60)


def test_a_cluster_without_workers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Cluster(0, tmp_path)
