"""Cluster: Dask inside a site: on loopback, with TLS of this run, without its web pages; stuck workers are replaced."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final, Self

import psutil

from camlink.errors import Closed, InputError, OperatorFailed, PeerLost
from camlink.runtime.certificates import make_certificates
from camlink.runtime.executor import Handle, Tally, TaskState, count

START_S: Final = 60.0
CLOSE_S: Final = 20.0
LOOK_S: Final = 1.0
SILENT_S: Final = 12.0  # found, ended and replaced within 15 s
SETTINGS: Final = {
    "distributed.scheduler.worker-ttl": f"{SILENT_S:g}s",
    "distributed.scheduler.allowed-failures": 2,
    "distributed.comm.require-encryption": True,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.scheduler.http.routes": [],  # they would be served without a login
    "distributed.worker.http.routes": [],
    "distributed.admin.system-monitor.log-length": 60,
}


class ClusterHandle:
    """Work on a cluster; the result stays with the worker that made it until `result` is called."""

    def __init__(self, future: Any) -> None:
        self.future = future

    @property
    def state(self) -> TaskState:
        """Where it is on its way."""
        states: dict[str, TaskState] = {"finished": "done", "error": "failed", "cancelled": "cancelled",
                                        "lost": "waiting"}
        return states.get(self.future.status, "waiting")

    def result(self, timeout_s: float) -> Any:
        """The result, brought here; raises OperatorFailed, Closed or PeerLost."""
        from distributed import CancelledError as TaskCancelled
        from distributed import KilledWorker

        try:
            return self.future.result(timeout_s)
        except (CancelledError, TaskCancelled):
            raise Closed("the work was cancelled") from None
        except KilledWorker as error:
            raise OperatorFailed(f"the work has ended every process that took it: {error}") from None
        except TimeoutError:
            if self.future.status == "error":
                raise OperatorFailed("the work raised TimeoutError") from None
            raise PeerLost(f"the work was not done in {timeout_s:g} s; wait longer or cancel it") from None
        except Exception as error:
            raise OperatorFailed(f"the work raised {type(error).__name__}: {error}") from error

    def cancel(self) -> None:
        """Do not begin it, or forget what comes of it."""
        self.future.cancel()


class Cluster:
    """Workers of this site, each a process of one thread (executor.Executor); `folder` is for what they spill."""

    def __init__(self, workers: int, folder: Path, memory_bytes: int = 0) -> None:
        if workers < 1:
            raise InputError(f"a cluster needs at least one worker, not {workers}")
        try:
            import dask
            import distributed
        except ImportError:
            raise InputError("a cluster needs Dask distributed: pip install 'camlink[sites]'") from None
        self._handles: list[ClusterHandle] = []
        self.replaced = 0
        self._settings = dask.config.set(SETTINGS)
        self._cluster: Any = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", protocol="tls://",
            dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0", security=_security(distributed),
            silence_logs=logging.ERROR, memory_limit=memory_bytes, local_directory=str(folder))
        self._cluster.scheduler.http_server.stop()
        self._client: Any = distributed.Client(self._cluster, timeout=START_S)
        self._client.register_plugin(_no_pages(distributed))
        self._client.wait_for_workers(workers, timeout=START_S)
        self._seen: dict[int, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)
        self._thread.start()

    @property
    def pids(self) -> list[int]:
        """The processes of the workers."""
        nannies = list(self._cluster.workers.values())
        return [nanny.pid for nanny in nannies if nanny.pid is not None]

    def submit(self, work: Callable[..., Any], *arguments: Any, priority: int = 0) -> ClusterHandle:
        """Take one piece of work."""
        given = [a.future if isinstance(a, ClusterHandle) else a for a in arguments]
        handle = ClusterHandle(self._client.submit(work, *given, priority=priority, pure=False))
        self._handles.append(handle)
        return handle

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], *, priority: int = 0) -> list[Handle]:
        """One piece of work for each item."""
        futures = self._client.map(work, list(items), priority=priority, pure=False)
        made = [ClusterHandle(future) for future in futures]
        self._handles += made
        return list(made)

    def tally(self) -> Tally:
        """How far everything is."""
        return count(self._handles)

    def close(self) -> None:
        """End everything, in bounded time; no process stays."""
        self._closing.set()
        self._thread.join(CLOSE_S)
        pids = self.pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            self._client.close(timeout=CLOSE_S)
        with contextlib.suppress(TimeoutError):
            self._cluster.close(timeout=CLOSE_S)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._settings.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _watch(self) -> None:
        """End workers that are stopped or silent; their nannies start others, their work begins anew elsewhere."""
        while not self._closing.wait(LOOK_S):
            now_s = time.monotonic()
            known = {worker["pid"] for worker in self._known()}
            for pid in self.pids:
                if pid in known and not _is_stopped(pid):
                    self._seen[pid] = now_s
                elif now_s - self._seen.setdefault(pid, now_s) > SILENT_S:
                    self.replaced += 1
                    self._seen[pid] = now_s
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _known(self) -> list[dict[str, Any]]:
        scheduler = self._cluster.scheduler
        return [{"pid": worker.extra.get("pid") or _pid_of(self._cluster, worker.address)}
                for worker in list(scheduler.workers.values())]


def _pid_of(cluster: Any, address: str) -> int | None:
    for nanny in list(cluster.workers.values()):
        if nanny.worker_address == address:
            return int(nanny.pid) if nanny.pid is not None else None
    return None


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _no_pages(distributed: Any) -> Any:
    """What every worker does when it starts, also one that replaces another: close its web server."""

    class NoPages(distributed.WorkerPlugin):  # type: ignore[misc, unused-ignore]
        name = "camlink-no-pages"

        def setup(self, worker: Any) -> None:
            worker.http_server.stop()

    return NoPages()


def _security(distributed: Any) -> Any:
    authority, made = make_certificates(("client", "scheduler", "worker"))
    roles = {f"tls_{role}_{part}": getattr(made[role], field) for role in made
             for part, field in (("cert", "certificate"), ("key", "key"))}
    return distributed.Security(require_encryption=True, tls_ca_file=authority, **roles)
