"""camlink prepare: compile the numerical kernels once, so that no first frame waits for the compiler."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console


def _camera() -> None:
    from camlink.capture.fastccd.geometry import PRESETS
    from camlink.capture.fastccd.receiver import Receiver
    from camlink.capture.fastccd.sim import Simulator

    Receiver(PRESETS["window"]).close()
    Simulator(PRESETS["window"]).close()


def _reduction() -> None:
    from camlink.capture.fastccd.geometry import PRESETS
    from camlink.compute.correct.correction import warm
    from camlink.compute.correct.gain import Gain
    from camlink.compute.correct.layout import Layout

    warm(Layout(*PRESETS["window"].shape), Gain())


def _solver() -> None:
    from camlink.compute.ptychography.parameters import SolveParameters
    from camlink.compute.ptychography.practice import practise

    practise(SolveParameters(), SolveParameters().warm_size)


KERNELS: Final[dict[str, Callable[[], None]]] = {"camera": _camera, "reduction": _reduction, "solver": _solver}


def prepare() -> None:
    """Compile the kernels for this machine; later starts take them from the cache."""
    console = Console()
    for name, compile_kernels in KERNELS.items():
        began = time.perf_counter()
        with console.status(f"compiling {name}"):
            compile_kernels()
        console.print(f"{name}: {time.perf_counter() - began:.1f} s", highlight=False)
