"""Cases: what `camlink bench ptychography` measures, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from camlink.compute.ptychography.bench.cpu import admm_on_cpu, modes_on_cpu, on_cpu, positions_on_cpu
from camlink.compute.ptychography.bench.gpu import admm_on_gpu, modes_on_gpu, on_gpu, ordered_on_gpu, positions_on_gpu
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
SPECIAL: Final[dict[str, Callable[[str, Case], dict[str, Any]]]] = {
    "cpu-128-admm": admm_on_cpu, "cpu-128-modes": modes_on_cpu, "cpu-128-positions": positions_on_cpu,
    "gpu-256-admm": admm_on_gpu, "gpu-256-modes": modes_on_gpu, "gpu-256-positions": positions_on_gpu,
    "gpu-256-ordered": ordered_on_gpu, "gpu-256-start": start_on_gpu,
    "gpu-256-x2": on_gpus(2), "gpu-256-x4": on_gpus(4)}


def measure(name: str) -> dict[str, Any]:
    """Figures of one of CASES as a record of `camlink bench ptychography`.

    Raises UnknownName, and InputError for a case of the GPU where there is none.
    """
    if name not in CASES:
        raise UnknownName("case of ptychography", name, CASES)
    case = CASES[name]
    return SPECIAL.get(name, on_gpu if case.kernel == "cuda" else on_cpu)(name, case)
