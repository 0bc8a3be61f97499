"""What a cluster does as `context.executor`: tasks a second, and from submit to result; beside a bare Client."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from camlink.runtime.cluster.certificates import Authority
from camlink.runtime.cluster.client import SETTINGS, Entrance, need_dask, open_executor
from camlink.runtime.cluster.side import ClusterSide, entrance_of
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import JoinCluster, StartScheduler

TASKS: Final = 400
SINGLE: Final = 40
ROUNDS: Final = 3
WORKERS: Final = 2
PATIENCE_S: Final = 60.0


def measure() -> dict[str, Any]:
    """Case `dask`: tasks/s of a cluster of two workers."""
    dask, distributed = need_dask()
    with tempfile.TemporaryDirectory(prefix="camlink-bench-") as folder, ExitStack() as stack:
        entrance = _cluster(Path(folder), stack)
        ours = open_executor(entrance)
        stack.callback(ours.close)
        stack.enter_context(dask.config.set(SETTINGS))
        known = Entrance.read(entrance)
        bare = stack.enter_context(distributed.Client(known.address, security=known.security(distributed),
                                                      set_as_default=False))
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        good = True
        for _ in range(ROUNDS):
            for name, many, one in (
                    ("ours", lambda: [handle.result(PATIENCE_S) for handle in ours.map(_double, range(TASKS))],
                     lambda n: ours.submit(_double, n).result(PATIENCE_S)),
                    ("bare", lambda: bare.gather(bare.map(_double, range(TASKS), pure=False)),
                     lambda n: bare.submit(_double, n, pure=False).result(PATIENCE_S))):
                begun_s = time.perf_counter()
                good = good and many() == [2 * n for n in range(TASKS)]
                rates[name].append(TASKS / (time.perf_counter() - begun_s))
                times[name] += [_time(one, n) for n in range(SINGLE)]
    tasks, bare_tasks = (round(statistics.median(rates[name]), 1) for name in ("ours", "bare"))
    single, bare_single = (round(statistics.median(times[name]) * 1e3, 2) for name in ("ours", "bare"))
    return {"case": "dask", "figure": tasks, "unit": "tasks/s",
            "beside": {"distributed.Client": bare_tasks, "submit to result [ms]": single,
                       "submit to result by distributed.Client [ms]": bare_single},
            "ratio": {"distributed.Client": round(tasks / bare_tasks, 3)}, "checked": good,
            "note": f"{WORKERS} workers, TLS, {TASKS} empty tasks, {ROUNDS} rounds in turn, medians; ours asks each "
                    "handle for its result, the client gathers all at once"}


def _double(number: int) -> int:
    return 2 * number


def _time(one: Callable[[int], Any], number: int) -> float:
    begun_s = time.perf_counter()
    one(number)
    return time.perf_counter() - begun_s


def _cluster(folder: Path, stack: ExitStack) -> Path:
    """A cluster as the agent of a site brings it up; the file that leads to it."""
    folder.chmod(0o700)
    side = ClusterSide("bench", folder, take_inventory(folder))
    passes = Authority().issue()
    closing = threading.Event()

    def look() -> None:
        while not closing.wait(0.05):
            if (news := side.look()) is not None:
                side.obey(JoinCluster(cluster="bench", address=news.address, workers=WORKERS, own=passes["worker"],
                                      client=passes["client"]))
        side.close()

    side.obey(StartScheduler(own=passes["scheduler"]))
    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def end() -> None:
        closing.set()
        thread.join()

    stack.callback(end)
    entrance = entrance_of(folder, "bench")
    open_executor(entrance).close()  # waits until it is up
    return entrance
