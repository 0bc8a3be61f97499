"""Measure an iteration on several GPUs of one host, beside the same scan on one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np

from camlink.compute.arrays import gpu_count, to_host
from camlink.compute.ptychography.bench.gpu import card
from camlink.compute.ptychography.bench.problem import BLEND, REAL, Case, Problem, engine_of
from camlink.compute.ptychography.bench.record import TOLERANCE, record
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.many.processes import Processes
from camlink.compute.ptychography.many.team import Team
from camlink.compute.ptychography.probe import Constraints
from camlink.errors import InputError

TOGETHER: Final = 40
TIMES: Final = 7
BATCH: Final = 200


def on_gpus(ranks: int) -> Callable[[str, Case], dict[str, Any]]:
    """The measurement on so many GPUs; it raises InputError where there are fewer."""
    def measure(name: str, case: Case) -> dict[str, Any]:
        gpus = gpu_count()
        if gpus < ranks:
            raise InputError(f"case '{name}' measures {ranks} GPUs and this process may use {gpus}; "
                             "run it on a machine with as many NVIDIA GPUs and CuPy with NCCL (camlink[gpu])")
        return _measured(name, case, ranks)

    return measure


def team_of(problem: Problem, ranks: int, **options: Any) -> Team:
    """A team that holds all frames of the problem; `options` are those of Team."""
    count, side, _ = problem.amplitude.shape
    geometry = Geometry((side, side), (problem.image.shape[0], problem.image.shape[1]), (1.0, 1.0), (0.0, 0.0), 0)
    power = float((np.abs(problem.probe) ** 2).sum())
    team = Team(Processes(ranks), geometry, count, kernel="cuda", real=REAL, probe=problem.probe, image=problem.image,
                constraints=Constraints(None, power), corners=problem.corners, **options)
    for start in range(0, count, BATCH):
        some = np.arange(start, min(start + BATCH, count))
        team.put(some, problem.amplitude[some], problem.corners[some].astype(float), np.ones(len(some), np.float32))
    return team


def _measured(name: str, case: Case, ranks: int) -> dict[str, Any]:
    problem = Problem.of(case)
    engine = engine_of(problem, choose("cuda", (case.side, case.side), 1, REAL))
    with closing(team_of(problem, ranks)) as team:
        for one in (engine, team):
            one.iterate(BLEND, refine_probe=True)
        wrong = max(_gap(team.image, engine.image), _gap(team.probe, engine.probe))
        spent: dict[str, list[float]] = {"one": [], "all": []}
        for _ in range(TIMES):
            for key, work in (("one", engine), ("all", team)):
                spent[key].append(_iterated(work))
    figure, single = median(spent["all"]), median(spent["one"])
    note = (f"{ranks} x {card()}: {case.frames} frames of {case.side}^2, {single / figure:.2f} times as fast as one; "
            f"after one iteration object and probe differ by {wrong:.1e} of the largest number")
    return record(name, figure, {"one GPU": single}, note, checked=wrong < TOLERANCE)


def _iterated(engine: Engine | Team) -> float:
    """Time of an iteration [ms], by the clock, over TOGETHER of them after some that do not count."""
    finish = importlib.import_module("cupy").cuda.Device().synchronize
    for _ in range(5):
        engine.iterate(BLEND, refine_probe=True)
    finish()
    started_s = perf_counter()
    for _ in range(TOGETHER):
        engine.iterate(BLEND, refine_probe=True)
    finish()
    return 1e3 * (perf_counter() - started_s) / TOGETHER


def _gap(one: Any, other: Any) -> float:
    one, other = to_host(one), to_host(other)
    return float(np.abs(one - other).max() / np.abs(other).max())
