"""Cases: what `camlink bench ptychography` measures, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from camlink.compute.ptychography.bench.cpu import admm_on_cpu, modes_on_cpu, on_cpu, positions_on_cpu
from camlink.compute.ptychography.bench.gpu import on_gpu
from camlink.compute.ptychography.bench.gpus import on_gpus
from camlink.compute.ptychography.bench.problem import Case
from camlink.errors import UnknownName

CPU: Final = Case(400, 128, "compiled")
CASES: Final = MappingProxyType({
    "cpu-128": CPU, "cpu-128-admm": CPU, "cpu-128-modes": CPU, "cpu-128-positions": CPU,
    "gpu-128": Case(1600, 128, "cuda"), "gpu-256": Case(1600, 256, "cuda"),
    "gpu-256-x2": Case(6400, 256, "cuda"), "gpu-256-x4": Case(6400, 256, "cuda")})
SPECIAL: Final[dict[str, Callable[[str, Case], dict[str, Any]]]] = {
    "cpu-128-admm": admm_on_cpu, "cpu-128-modes": modes_on_cpu, "cpu-128-positions": positions_on_cpu,
    "gpu-256-x2": on_gpus(2), "gpu-256-x4": on_gpus(4)}


def measure(name: str) -> dict[str, Any]:
    """Figures of one of CASES as a record of `camlink bench ptychography`.

    Raises UnknownName, and InputError for a case of the GPU where there is none.
    """
    if name not in CASES:
        raise UnknownName("case of ptychography", name, CASES)
    case = CASES[name]
    return SPECIAL.get(name, on_gpu if case.kernel == "cuda" else on_cpu)(name, case)
