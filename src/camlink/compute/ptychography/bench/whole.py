"""Measure a whole reconstruction: from raw frames in the memory of the host to a given error against the truth."""

from __future__ import annotations

import importlib
from typing import Any, Final

from camlink.compute.ptychography.bench.gpu import card, check_gpu
from camlink.compute.ptychography.bench.problem import Case
from camlink.compute.ptychography.bench.record import record
from camlink.compute.ptychography.bench.simulated import simulated
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contest import hold
from camlink.compute.ptychography.evaluate.contestant import Own
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.errors import InputError

TARGET: Final = 0.06
SECONDS: Final = 1.0
SAMPLES: Final = 40
MANY: Final = 100_000


def start_on_gpu(name: str, case: Case) -> dict[str, Any]:
    """Seconds from counts on the host to an error of TARGET, by the schedule that is the default.

    Raises InputError where there is no GPU, or when the error is not reached in SECONDS.
    """
    check_gpu(name)
    dataset = simulated(case, importlib.import_module("cupy"))
    contestant = Own("whole", SolveParameters(kernel="cuda"))
    standing = next(iter(hold(dataset, [contestant], Budget(MANY, SECONDS, SAMPLES), TARGET)))
    outcome = standing.outcome
    if outcome.seconds_to_target is None:
        raise InputError(f"case '{name}' came to an error of {outcome.nrms} in {SECONDS:g} s and not to {TARGET} "
                         f"{outcome.text}; the GPU may be busy, or slower than this case is meant for")
    note = (f"{card()}: {case.frames} frames of {case.side}^2 to an error of {TARGET} in "
            f"{outcome.iterations_to_target} steps, {outcome.ms_per_iteration} ms each; {outcome.nrms} after "
            f"{outcome.seconds} s")
    return record(name, outcome.seconds_to_target, {"first guess and upload": float(outcome.setup_s or 0.0)}, note,
                  unit="s", checked=True)
