"""Stepper: the solvers that go by themselves, ADMM and the iterative engines, as contestants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.admm import Admm
from camlink.compute.ptychography.evaluate.budget import Budget, Stopwatch
from camlink.compute.ptychography.evaluate.contestant import Snapshot, start_of
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.pie import Pie
from camlink.compute.ptychography.prox import DataTerm

Array = NDArray[Any]
PROBE_START: Final = 3
SOFT: Final = 0.25
"""Part of the budget that ADMM spends with the soft prox, which finds the way; the stiff one then settles."""


class Iterating(Protocol):
    """A solver that holds object and probe and makes them better by an iteration."""

    image: Array
    probe: Array

    def iterate(self, *, refine_probe: bool = False) -> None:
        """One iteration."""
        ...


@dataclass(frozen=True, slots=True)
class Stepper:
    """A contestant around a solver; `make` takes amplitude, corners, probe and object, `tune` may act on the way."""

    name: str
    make: Callable[[Array, Array, Array, Array], Iterating]
    tune: Callable[[Any, float], None] | None = None
    options: dict[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, str | int | float | bool]:
        """Engine, algorithm and options."""
        return {"engine": "camlink", "algorithm": self.name, "kernel": "reference", **self.options}

    @property
    def missing(self) -> str:
        """Never missing."""
        return ""

    def prepare(self, dataset: DataSet) -> None:
        """Nothing is compiled."""

    def run(self, dataset: DataSet, budget: Budget) -> Iterator[Snapshot]:
        """Reconstruct from the engine's own first guess; making pictures is not on the clock."""
        watch = Stopwatch(budget)
        with watch.setting_up():
            image, probe, margin = start_of(dataset)
            solver = self.make(dataset.amplitude(slice(None)), dataset.whole_corners(margin), probe[0], image)
        while not watch.spent:
            if self.tune is not None:
                self.tune(solver, watch.progress)
            with watch.iterating():
                solver.iterate(refine_probe=watch.iteration >= PROBE_START)
            if watch.due():
                yield Snapshot(watch.iteration, watch.seconds, watch.setup_s, watch.step_s, solver.image.copy(),
                               solver.probe[None].copy(), margin)


def _admm(likeness: Any, strength: float) -> Callable[[Array, Array, Array, Array], Iterating]:
    def make(amplitude: Array, corners: Array, probe: Array, image: Array) -> Iterating:
        return Admm(amplitude, corners, probe, image, term=DataTerm(likeness, 2.0), strength=strength)

    return make


def _stiffen(solver: Any, progress: float) -> None:
    stiffness = 2.0 if progress < SOFT else 8.0
    if solver.term.stiffness != stiffness:
        solver.term = DataTerm(solver.term.likeness, stiffness)


def _pie(regular: float) -> Callable[[Array, Array, Array, Array], Iterating]:
    def make(amplitude: Array, corners: Array, probe: Array, image: Array) -> Iterating:
        batch = max(1, min(32, len(amplitude) // 4))
        return Pie(amplitude, corners, probe, image.astype(np.complex64), regular=regular, batch=batch)

    return make


STEPPERS: Final = {
    "admm": Stepper("admm", _admm("poisson", 0.0), _stiffen, {"data": "poisson"}),
    "admm-tv": Stepper("admm-tv", _admm("poisson", 3.0), _stiffen, {"data": "poisson", "total_variation": 3.0}),
    "epie": Stepper("epie", _pie(1.0)),
    "rpie": Stepper("rpie", _pie(0.3), options={"regular": 0.3}),
}
