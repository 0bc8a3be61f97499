"""Contestant, anything that reconstructs a data set step by step, and Own, the engine of this project as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import settle, to_host
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.evaluate.budget import Budget, Stopwatch
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.practice import FRAMES, run_through
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.schedule import Outlook, Schedule
from camlink.errors import FormatError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a contestant stands after `iteration` iterations and `seconds` of its own time.

    object (H, W) complex, its pixel [margin, margin] is where the window of the first position starts; probe
    (mode, y, x) complex with sum|P|^2 in photons. `step_s` is the median time of an iteration [s]. What a contestant
    may find out too: corners (n, 2) [object pixel], background (y, x) [photon] with zero frequency at [0, 0], gains
    (n,) by which measured amplitudes are multiplied.
    """

    iteration: int
    seconds: float
    setup_s: float
    step_s: float
    object: Array
    probe: Array
    margin: int
    corners: Array | None = None
    background: Array | None = None
    gains: Array | None = None


class Contestant(Protocol):
    """Takes part in a contest."""

    @property
    def name(self) -> str:
        """Name for people, different from all others."""
        ...

    @property
    def about(self) -> dict[str, str | int | float | bool]:
        """Engine, algorithm, kernel and the parameters that differ from their defaults."""
        ...

    @property
    def missing(self) -> str:
        """Why it cannot take part here; empty when it can."""
        ...

    def prepare(self, dataset: DataSet) -> None:
        """Import and compile what it needs, before clock and memory are looked at. Raises CamlinkError."""
        ...

    def run(self, dataset: DataSet, budget: Budget) -> Iterator[Snapshot]:
        """Reconstruct within the budget; the last snapshot is the result. Raises CamlinkError."""
        ...


@dataclass(frozen=True, slots=True)
class Own:
    """The engine of this project with the given parameters.

    `iterations` and all times of the parameters give way to the budget; the Schedule is that of a streamed scan whose
    last frame has come.
    """

    name: str
    parameters: SolveParameters

    @property
    def about(self) -> dict[str, str | int | float | bool]:
        """Engine, algorithm, kernel and changed parameters."""
        default = SolveParameters()
        changed = {field: getattr(self.parameters, field) for field in SolveParameters.__struct_fields__
                   if getattr(self.parameters, field) != getattr(default, field)}
        return {"engine": "camlink", **changed, "algorithm": self.parameters.algorithm,
                "kernel": self.parameters.kernel}

    @property
    def missing(self) -> str:
        """Never missing."""
        return ""

    def prepare(self, dataset: DataSet) -> None:
        """Compile the kernel for the frames of the data set, and load what the first guess needs."""
        few = dataset.first(min(len(dataset), FRAMES))
        with closing(begun(few, self.parameters)) as work:
            run_through(work)

    def run(self, dataset: DataSet, budget: Budget) -> Iterator[Snapshot]:
        """Reconstruct; making pictures is not on the clock."""
        watch = Stopwatch(budget, settle)
        with watch.setting_up():
            work, schedule = begun(dataset, self.parameters), Schedule(self.parameters)
        with closing(work):
            while not watch.spent:
                with watch.iterating():
                    work.advance(schedule.next(work.condition, self._outlook(watch)))
                if watch.due():
                    arrays = work.arrays()
                    yield Snapshot(watch.iteration, watch.seconds, watch.setup_s, watch.step_s, arrays["object"],
                                   arrays["probe"], work.geometry.margin, background=background_of(work),
                                   **self._of_frames(work, len(dataset)))

    def _of_frames(self, work: Reconstruction, count: int) -> dict[str, Array]:
        """Where the engine takes the frames to be, rounded as it rounds, and their gains.

        Nothing where the frames are not all in one engine.
        """
        if not isinstance(work.engine, Engine) or work.engine.active != count:
            return {}
        slots, parts = work.engine.slots, self.parameters.fractions
        return {"corners": np.rint(slots.corners * parts) / parts, "gains": to_host(slots.active.gains).copy()}

    def _outlook(self, watch: Stopwatch) -> Outlook:
        enough = watch.left > 0 and self.parameters.polish_iterations < watch.budget.iterations
        return Outlook(False, watch.progress, watch.left if enough else float("inf"))


def begun(dataset: DataSet, parameters: SolveParameters) -> Reconstruction:
    """A reconstruction that has all frames and its first guess of object and probe; raises FormatError."""
    work = Reconstruction(dataset.scan, parameters)
    work.absorb(dataset.block())
    work.begin()
    if work.engine is None:
        problems = ", ".join(f"{count} {name}" for name, count in work.intake.counts.items() if count)
        raise FormatError(f"'{dataset.name}': no frame can be used ({problems or 'none was there'})")
    return work


def background_of(work: Reconstruction) -> Array | None:
    """The background (y, x) [photon] that the engine found, its pixels back in their places."""
    if not isinstance(work.engine, Engine) or work.engine.background is None:
        return None
    kernel, found = work.engine.kernel, to_host(work.engine.background)
    places = kernel.space.arange(found.size, dtype=np.float32).reshape(1, *found.shape)
    put = np.empty(found.size, found.dtype)
    put[to_host(kernel.arrange(places)).reshape(-1).astype(np.int64)] = found.reshape(-1)
    return put.reshape(found.shape)


def start_of(dataset: DataSet) -> tuple[Array, Array, int]:
    """What a peer starts from: object (H, W) and probe (mode, y, x) complex64, and the margin of the grid [pixel]."""
    work = begun(dataset, SolveParameters(kernel="reference"))
    assert work.engine is not None
    return (np.array(work.engine.image, np.complex64), np.array(work.engine.probe, np.complex64),
            work.geometry.margin)
