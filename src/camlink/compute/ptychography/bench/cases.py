"""Cases: what `camlink bench ptychography` measures, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from camlink.compute.ptychography.bench.cost import ADMM, cost
from camlink.compute.ptychography.bench.cpu import on_cpu
from camlink.compute.ptychography.bench.gpu import on_gpu
from camlink.compute.ptychography.bench.gpus import on_gpus
from camlink.compute.ptychography.bench.problem import Case
from camlink.compute.ptychography.bench.whole import start_on_gpu
from camlink.errors import UnknownName

CPU: Final = Case(400, 128, "compiled")
SMALL: Final = Case(1600, 128, "cuda")
LARGE: Final = Case(1600, 256, "cuda")
CASES: Final = MappingProxyType({
    "cpu-128": CPU, "cpu-128-admm": CPU, "cpu-128-modes": CPU, "cpu-128-positions": CPU, "gpu-128": SMALL,
    "gpu-256": LARGE, "gpu-256-admm": LARGE, "gpu-256-modes": LARGE, "gpu-256-positions": LARGE,
    "gpu-256-ordered": LARGE, "gpu-256-start": LARGE,
    "gpu-256-x2": Case(6400, 256, "cuda"), "gpu-256-x4": Case(6400, 256, "cuda")})
MORE: Final[dict[str, Callable[[str, Case], dict[str, Any]]]] = {
    "admm": partial(cost, rule=ADMM), "modes": partial(cost, modes=2), "positions": partial(cost, positions=True),
    "ordered": partial(cost, ordered=True), "start": start_on_gpu, "x2": on_gpus(2), "x4": on_gpus(4)}
"""What is measured where a case has a third part in its name; else it is an iteration of RAAR."""


def measure(name: str) -> dict[str, Any]:
    """Figures of one of CASES as a record of `camlink bench ptychography`.

    Raises UnknownName, and InputError for a case of the GPU where there is none.
    """
    if name not in CASES:
        raise UnknownName("case of ptychography", name, CASES)
    case = CASES[name]
    plain = on_gpu if case.kernel == "cuda" else on_cpu
    return MORE.get(name.rpartition("-")[2], plain)(name, case)
