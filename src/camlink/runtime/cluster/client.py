"""Cluster: the client of a site's Dask: its agents run the workers, where results stay until they are asked for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from camlink.carry.far.keys import read_private
from camlink.errors import Closed, InputError, OperatorFailed, PeerLost
from camlink.runtime.cluster.certificates import security
from camlink.runtime.executor import Held, ThreadExecutor
from camlink.workflow.executor import Executor, Handle, Tally, TaskState

START_S: Final = 60.0
DIAL_S: Final = 3.0
LOOK_S: Final = 0.1
CLOSE_S: Final = 20.0
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


class Entrance(msgspec.Struct, frozen=True):
    """How an operator comes to the cluster of its site; kept in a file of mode 0600 beside the sockets of the run.

    `own` is such a file too, with the certificate and the key of a client.
    """

    address: str
    authority: str
    own: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The entrance in a file; raises InputError when others may read it."""
        return msgspec.msgpack.decode(read_private(path), type=cls)

    def security(self, distributed: Any) -> Any:
        """With what Dask lets us in."""
        return security(distributed, self.authority, Path(self.own))


def open_executor(entrance: Path | None, patience_s: float = START_S) -> Executor:
    """Threads of this process, or the cluster to which the file `entrance` leads, which may still be coming up.

    Raises PeerLost when it does not come.
    """
    if entrance is None:
        return ThreadExecutor()
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if entrance.exists():
            with contextlib.suppress(PeerLost):  # its scheduler is gone; the next one has another address
                return ClusterExecutor(Entrance.read(entrance))
        time.sleep(LOOK_S)
    raise PeerLost(f"the cluster of this site is not up after {patience_s:g} s; see the logs of its agents")


class ClusterHandle:
    """Work on a cluster; the result stays with the worker that made it until `result` is called."""

    def __init__(self, future: Any) -> None:
        self.future = future
        self._cancelled = False

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
            if not self._cancelled:  # Dask says the same of work that went down with its scheduler
                raise PeerLost("the scheduler of this cluster is gone, and the work with it; give it again") from None
            raise Closed("the work was cancelled") from None
        except KilledWorker as error:
            raise OperatorFailed(f"the work has ended every process that took it: {error}") from None
        except TimeoutError:
            if self.future.status == "error":
                raise OperatorFailed("the work raised TimeoutError") from None
            raise PeerLost(f"the work was not done in {timeout_s:g} s; wait longer or cancel it") from None
        except Exception as error:  # the work is code of somebody else, which may raise anything
            raise OperatorFailed(f"the work raised {type(error).__name__}: {error}") from error

    def cancel(self) -> None:
        """Do not begin it, or forget what comes of it."""
        self._cancelled = True
        self.future.cancel()


class ClusterExecutor:
    """The workers of this site (executor.Executor)."""

    def __init__(self, entrance: Entrance) -> None:
        dask, distributed = need_dask()
        self._settings = dask.config.set(SETTINGS | {"distributed.comm.timeouts.connect": f"{DIAL_S:g}s"})
        try:
            self._client: Any = distributed.Client(
                entrance.address, security=entrance.security(distributed), timeout=DIAL_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            self._settings.__exit__(None, None, None)
            raise PeerLost(f"the cluster of this site does not answer at {entrance.address}: {error}") from None
        self._held = Held()

    def submit(self, work: Callable[..., Any], *arguments: Any, priority: int = 0) -> ClusterHandle:
        """Take one piece of work."""
        given = [a.future if isinstance(a, ClusterHandle) else a for a in arguments]
        handle = ClusterHandle(self._client.submit(work, *given, priority=priority, pure=False))
        self._held.add([handle])
        return handle

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], *, priority: int = 0) -> list[Handle]:
        """One piece of work for each item."""
        futures = self._client.map(work, list(items), priority=priority, pure=False)
        made: list[Handle] = [ClusterHandle(future) for future in futures]
        self._held.add(made)
        return made

    def tally(self) -> Tally:
        """How far everything is."""
        return self._held.tally()

    def close(self) -> None:
        """Cancel what has not begun and forget the rest; the workers go on for others."""
        self._held.tally()
        for handle in self._held.waiting:
            handle.cancel()
        with contextlib.suppress(TimeoutError):
            self._client.close(timeout=CLOSE_S)
        self._settings.__exit__(None, None, None)


def need_dask() -> tuple[Any, Any]:
    """Dask and its distributed; raises InputError when they are not installed."""
    try:
        import dask
        import distributed
    except ImportError:
        raise InputError("a cluster needs Dask distributed: pip install 'camlink[sites]'") from None
    return dask, distributed
