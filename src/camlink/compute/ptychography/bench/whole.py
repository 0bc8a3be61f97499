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
ITERATIONS: Final = 300
SAMPLES: Final = 100


def start_on_gpu(name: str, case: Case) -> dict[str, Any]:
    """Seconds from counts on the host to an error of TARGET, by the schedule that is the default.

    The scan is reconstructed twice: an operator sees scan after scan, and only the first one of a process waits for
    device memory and for what CUDA loads late. Raises InputError where there is no GPU, or when the error is not
    reached in ITERATIONS.
    """
    check_gpu(name)
    dataset = simulated(case, importlib.import_module("cupy"))
    contestant, budget = Own("whole", SolveParameters(kernel="cuda")), Budget(ITERATIONS, samples=SAMPLES)
    first, outcome = (next(iter(hold(dataset, [contestant], budget, TARGET))).outcome for _ in range(2))
    if outcome.seconds_to_target is None:
        raise InputError(f"case '{name}' came to an error of {outcome.nrms} in {ITERATIONS} iterations and not to "
                         f"{TARGET} {outcome.text}; `camlink evaluate` shows its way")
    note = (f"{card()}: {case.frames} frames of {case.side}^2 to an error of {TARGET} in "
            f"{outcome.iterations_to_target} steps, {outcome.ms_per_iteration} ms each; {outcome.nrms} after "
            f"{outcome.seconds} s")
    beside = {"first guess and upload": outcome.setup_s, "first scan of a process": first.seconds_to_target or 0.0}
    return record(name, outcome.seconds_to_target, beside, note, unit="s", checked=True)
