"""Contest: every contestant on the same data set within the same budget, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.evaluate import judge
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contestant import Contestant, Snapshot
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.evaluate.memory import MemoryMeter
from camlink.errors import CamlinkError, ParameterError

Array = NDArray[Any]
Status = Literal["ran", "not installed", "failed"]
MOST_CONTESTANTS: Final = 64
DIGITS: Final = 5


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a curve; `nrms` is None without a truth."""

    iteration: int
    seconds: float
    fourier_error: float | None
    nrms: float | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a contestant achieved; figures are None where they could not be measured, and `text` says why.

    `half_bit` [fraction of Nyquist] comes from the ring correlation with `correlated_with`: the truth, or the pictures
    of two half data sets. `memory_bytes` and `gpu_bytes` are what the process and the use of the GPU grew by at most.
    `seconds` includes `setup_s`.
    """

    name: str
    about: dict[str, str | int | float | bool] = {}
    status: Status = "ran"
    text: str = ""
    iterations: int = 0
    seconds: float = 0.0
    setup_s: float = 0.0
    ms_per_iteration: float = 0.0
    seconds_to_target: float | None = None
    iterations_to_target: int | None = None
    nrms: float | None = None
    phase_rms_rad: float | None = None
    fourier_error: float | None = None
    half_bit: float | None = None
    half_period_nm: float | None = None
    correlated_with: Literal["truth", "halves", ""] = ""
    memory_bytes: int = 0
    gpu_bytes: int = 0
    curve: tuple[Sample, ...] = ()
    correlation: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """An outcome with its picture (y, x) complex between the frame centres, or None."""

    outcome: Outcome
    picture: Array | None = None


@dataclass(slots=True)
class _Watched:
    """A run as the referee sees it."""

    samples: list[Sample] = field(default_factory=list)
    last: Snapshot | None = None
    memory: MemoryMeter = field(default_factory=MemoryMeter)


Heard = Callable[[str, float], None]


def hold(dataset: DataSet, contestants: Sequence[Contestant], budget: Budget, target: float,
         heard: Heard = lambda name, done: None) -> Iterator[Standing]:
    """Run every contestant and give its standing as soon as it is known.

    `target` is the error whose time is asked for: against the truth, or the Fourier error without one. `heard` is told
    the name and the part done (0..1). Raises ParameterError for equal names or too many contestants.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names) or not 0 < len(names) <= MOST_CONTESTANTS:
        raise ParameterError(f"a contest takes 1 to {MOST_CONTESTANTS} contestants of different names, got "
                             f"{len(names)}: {', '.join(names)}")
    for contestant in contestants:
        if contestant.missing:
            yield Standing(Outcome(name=contestant.name, about=contestant.about, status="not installed",
                                   text=contestant.missing))
            continue
        try:
            yield _standing(dataset, contestant, budget, target, heard)
        except CamlinkError as error:
            yield Standing(Outcome(name=contestant.name, about=contestant.about, status="failed", text=str(error)))


def time_to(samples: Sequence[Sample], target: float, *, with_truth: bool) -> Sample | None:
    """The first sample at or below the `target` after which the error stays there; None when there is none."""
    reached = None
    for sample in samples:
        error = sample.nrms if with_truth else sample.fourier_error
        if error is None or not error <= target:
            reached = None
        elif reached is None:
            reached = sample
    return reached


def _standing(dataset: DataSet, contestant: Contestant, budget: Budget, target: float, heard: Heard) -> Standing:
    with_truth = judge.truth_of(dataset) is not None
    watched = _watch(dataset, contestant, budget, heard, share=1.0 if with_truth else 0.5)
    last = watched.last
    if last is None:
        return Standing(Outcome(name=contestant.name, about=contestant.about, status="failed",
                                text="it gave no result"))
    picture, found = judge.picture_of(dataset, last), judge.truth_score(dataset, last)
    half_bit, curve = _resolution(dataset, contestant, budget, picture, heard)
    reached = time_to(watched.samples, target, with_truth=with_truth)
    return Standing(Outcome(
        name=contestant.name, about=contestant.about, iterations=last.iteration, seconds=_short(last.seconds),
        text="" if judge.fourier_error(dataset, last, 1) is not None else "the result is not finite",
        setup_s=_short(last.setup_s), ms_per_iteration=_short(1e3 * last.step_s),
        seconds_to_target=reached.seconds if reached else None,
        iterations_to_target=reached.iteration if reached else None,
        nrms=_maybe(found.nrms if found else None), phase_rms_rad=_maybe(found.phase_rms_rad if found else None),
        fourier_error=_maybe(judge.fourier_error(dataset, last)), half_bit=_maybe(half_bit),
        half_period_nm=_maybe(judge.half_period_nm(dataset, half_bit)),
        correlated_with="" if half_bit is None else "truth" if with_truth else "halves",
        memory_bytes=watched.memory.host_bytes, gpu_bytes=watched.memory.gpu_bytes, curve=tuple(watched.samples),
        correlation=tuple(curve)), picture)


def _watch(dataset: DataSet, contestant: Contestant, budget: Budget, heard: Heard, share: float) -> _Watched:
    contestant.prepare(dataset)
    watched = _Watched()
    heard(contestant.name, 0.0)
    for snapshot in contestant.run(dataset, budget):
        watched.memory.look()
        watched.last = snapshot
        found = judge.truth_score(dataset, snapshot)
        error = judge.fourier_error(dataset, snapshot, judge.SOME_FRAMES)
        watched.samples.append(Sample(
            iteration=snapshot.iteration, seconds=_short(snapshot.seconds), fourier_error=_maybe(error),
            nrms=_maybe(found.nrms if found else None)))
        done = snapshot.iteration / budget.iterations
        if budget.seconds:
            done = max(done, snapshot.seconds / budget.seconds)
        heard(contestant.name, share * min(done, 1.0))
    return watched


def _resolution(dataset: DataSet, contestant: Contestant, budget: Budget, picture: Array | None,
                heard: Heard) -> tuple[float | None, list[float]]:
    """Half-bit crossing and the whole ring correlation, with the truth or else from two halves of the frames."""
    if picture is None or not np.isfinite(picture).all():
        return None, []
    true = judge.truth_of(dataset)
    if true is not None:
        return judge.resolution(true, picture)
    pictures = []
    only_last = Budget(budget.iterations, budget.seconds, samples=1)
    for done, half in enumerate(dataset.halves()):
        last = deque(contestant.run(half, only_last), maxlen=1)
        pictures.append(judge.picture_of(dataset, last[0]) if last else None)
        heard(contestant.name, 0.75 + 0.25 * done)
    one, other = pictures
    if one is None or other is None or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None, []
    return judge.resolution(one, other)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _maybe(value: float | None) -> float | None:
    return _short(value) if value is not None and np.isfinite(value) else None
