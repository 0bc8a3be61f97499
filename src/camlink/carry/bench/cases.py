"""Cases of the bench of links.

Every case checks every result (the sum of each frame) and the accounts of both links. Runs of the chains that are
compared take turns; each figure is the median.
"""

from __future__ import annotations

import statistics
from typing import Any, Final

import msgspec

from camlink.carry.bench.job import LIMIT_BYTES, run
from camlink.carry.bench.task import Outcome, Task

REPEATS: Final = 3
RATE_FRAMES: Final = 4000
TOGETHER: Final = 8
AGE_RUN_S: Final = 4.0
SMALL_FRAMES: Final = 400_000
SMALL_TOGETHER: Final = 256
SMALL_PER_S: Final = 100_000
ALONE_FRAMES: Final = 40_000
CASES: Final = ("shm-sum", "shm-whole", "zmq-sum", "zmq-whole", "age-100", "age-400", "small-4k")


def measure(case: str) -> dict[str, Any]:
    """Figures of one case as a record of the bench; each is the median of `REPEATS` runs that take turns."""
    return {"shm-sum": _rate, "shm-whole": _rate, "zmq-sum": _rate, "zmq-whole": _rate,
            "age-100": _age, "age-400": _age, "small-4k": _small}[case](case)


def _rate(case: str) -> dict[str, Any]:
    """Producers send ready frames again and again; beside it, one frame a block, and every frame written anew.

    Ours has TOGETHER frames in a block: as many as the FastCCD receiver puts into one at such rates (8 MiB).
    """
    by, _, job = case.partition("-")
    task = Task(by="shm" if by == "shm" else "zmq", folder="", frames=RATE_FRAMES, whole=job == "whole",
                together=TOGETHER)
    others = {"hand-written pyzmq ipc": msgspec.structs.replace(task, by="pyzmq ipc"),
              "hand-written pyzmq tcp": msgspec.structs.replace(task, by="pyzmq tcp"),
              "one frame a block": msgspec.structs.replace(task, together=1),
              "frames written anew": msgspec.structs.replace(task, written=True),
              "hand-written pyzmq ipc, frames written anew":
                  msgspec.structs.replace(task, by="pyzmq ipc", written=True)}
    if by == "zmq":
        others["over tcp"] = msgspec.structs.replace(task, by="zmq tcp")
    ours, *runs = _in_turns([task, *others.values()])
    beside = {name: _median(some) for name, some in zip(others, runs, strict=True)}
    ratio = {name: round(_median(ours) / rate, 3) for name, rate in beside.items() if "anew" not in name}
    anew, anew_by_hand = (rate for name, rate in beside.items() if "anew" in name)
    if by == "zmq":
        ratio["over tcp, to hand-written pyzmq tcp"] = round(beside["over tcp"] / beside["hand-written pyzmq tcp"], 3)
    ratio["hand-written pyzmq ipc, frames written anew"] = round(anew / anew_by_hand, 3)
    ratio["hand-written pyzmq ipc, by CPU time a frame"] = round(_cpu_us(runs[0]) / _cpu_us(ours), 3)
    return _record(case, task, ours, round(_median(ours)), "frames/s",
                   {name: round(rate) for name, rate in beside.items()}, ratio,
                   all(run.right == task.frames and not run.faults for some in runs for run in some))


def _age(case: str) -> dict[str, Any]:
    per_s = float(case.partition("-")[2])
    task = Task(by="shm", folder="", frames=int(per_s * AGE_RUN_S), per_s=per_s, whole=True)
    floor = msgspec.structs.replace(task, by="pyzmq ipc")
    ours, theirs = _in_turns([task, floor])
    p50, other = _median_age(ours, "p50"), _median_age(theirs, "p50")
    return _record(case, task, ours, p50, "ms (p50)", {
        "hand-written pyzmq ipc (p50)": other, "hand-written pyzmq ipc (p99)": _median_age(theirs, "p99"),
        "p99": _median_age(ours, "p99")}, {"hand-written pyzmq ipc (p50)": round(p50 / max(other, 1e-9), 3)},
        all(run.right == floor.frames for run in theirs))


def _small(case: str) -> dict[str, Any]:
    """Small frames, as many in a block as fit into 1 MiB or come in 2 ms; beside it, one in a block, and their pace."""
    task = Task(by="shm", folder="", frames=SMALL_FRAMES, small=True, together=SMALL_TOGETHER)
    alone = msgspec.structs.replace(task, frames=ALONE_FRAMES, together=1)
    steady = msgspec.structs.replace(task, frames=2 * SMALL_PER_S, per_s=SMALL_PER_S)
    ours, single, paced = _in_turns([task, alone, steady])
    figure = _median(ours)
    return _record(case, task, ours, round(figure), "frames/s",
                   {"wanted": SMALL_PER_S, "one frame a block": round(_median(single)),
                    f"p99 of age at {SMALL_PER_S} frames/s [ms]": _median_age(paced, "p99")},
                   {"wanted": round(figure / SMALL_PER_S, 3), "one frame a block": round(figure / _median(single), 3)},
                   all(run.right == some.frames and not run.faults
                       for some, runs in ((alone, single), (steady, paced)) for run in runs))


def _record(case: str, task: Task, ours: list[Outcome], figure: float, unit: str, beside: dict[str, float],
            ratio: dict[str, float], others_right: bool) -> dict[str, Any]:
    """The record; `checked` when every sum was right everywhere and the accounts of both links hold."""
    right = all(run.right == task.frames and not run.faults and
                run.accounts["frames"].acknowledged == run.accounts["received"].received == task.frames and
                run.accounts["sums"].acknowledged == run.accounts["sums"].sent for run in ours)
    cpu = ", ".join(f"{role} {statistics.median(run.cpu_us[role] for run in ours):.0f}" for role in ours[0].cpu_us)
    ages = ", ".join(f"{name} {_median_age(ours, name):g}" for name in ("p50", "p99", "max"))
    hop = statistics.median(run.accounts["received"].hop_ms(0.5) for run in ours)
    rates = ", ".join(f"{run.frames_per_s:.0f}" for run in ours)
    note = (f"runs {rates} frames/s, {task.together} in a block; age of results [ms] {ages}; "
            f"first hop p50 {hop:.3f} ms; CPU a frame [us] {cpu}; "
            f"{task.frames} frames a run, every sum compared; limit of each link {LIMIT_BYTES[task.by] >> 20} MiB")
    return {"case": case, "figure": figure, "unit": unit, "beside": beside, "ratio": ratio,
            "checked": right and others_right, "note": note,
            "runs": [{"frames_per_s": round(run.frames_per_s, 1), "ages_ms": run.ages_ms} for run in ours]}


def _in_turns(tasks: list[Task]) -> list[list[Outcome]]:
    """The runs of each task; tasks take turns, so that all meet the same load."""
    rounds = [[run(task) for task in tasks] for _ in range(REPEATS)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def _median(runs: list[Outcome]) -> float:
    return statistics.median(run.frames_per_s for run in runs)


def _cpu_us(runs: list[Outcome]) -> float:
    return statistics.median(sum(run.cpu_us.values()) for run in runs)


def _median_age(runs: list[Outcome], name: str) -> float:
    return round(statistics.median(run.ages_ms[name] for run in runs), 3)
