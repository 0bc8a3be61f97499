"""Budget, what a contestant may spend, and Stopwatch, which counts what it did spend without the referee's time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from camlink.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `iterations`, and at most `seconds` [s] of the contestant's own time (0: no limit).

    `samples` snapshots are asked for on the way. Raises ParameterError.
    """

    iterations: int = 60
    seconds: float = 0.0
    samples: int = 20

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.seconds < 0 or self.samples < 1:
            raise ParameterError(f"a budget of {self.iterations} iterations, {self.seconds:g} s and {self.samples} "
                                 "samples; give at least one iteration and one sample, and no negative time")


class Stopwatch:
    """Counts iterations and the seconds between `timed` and its end; a new one starts at zero.

    `settle` waits for whatever was handed over, to a GPU for instance. It is called on the clock whenever a snapshot is
    due; the time of an iteration comes from the stretches in between, so that nothing waits in their course.
    """

    def __init__(self, budget: Budget, settle: Callable[[], None] = lambda: None) -> None:
        self.budget = budget
        self.iteration = 0
        self.seconds = 0.0
        self.setup_s = 0.0
        self._settle = settle
        self._stretches_s: list[float] = []
        self._open = (0, 0.0)
        self._sampled = 0
        self._due = False

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Time what comes before the first iteration; it counts as spent."""
        started_s = perf_counter()
        yield
        self._settle()
        self.setup_s += perf_counter() - started_s
        self.seconds += perf_counter() - started_s
        self._open = self.iteration, self.seconds

    @contextmanager
    def iterating(self) -> Iterator[None]:
        """Time one iteration."""
        started_s = perf_counter()
        yield
        self.iteration += 1
        self.seconds += perf_counter() - started_s
        mark = int(self.progress * self.budget.samples)
        self._due = mark > self._sampled or self.spent
        if self._due:
            started_s = perf_counter()
            self._settle()
            self.seconds += perf_counter() - started_s
            self._sampled = mark
            first, since_s = self._open
            self._stretches_s.append((self.seconds - since_s) / (self.iteration - first))
            self._open = self.iteration, self.seconds

    @property
    def step_s(self) -> float:
        """The median time of an iteration [s], over the stretches between snapshots; 0 before the first."""
        first, since_s = self._open
        if self._stretches_s:
            return median(self._stretches_s)
        return (self.seconds - since_s) / (self.iteration - first) if self.iteration > first else 0.0

    @property
    def progress(self) -> float:
        """Part of the budget that is spent, 0..1."""
        spent = self.iteration / self.budget.iterations
        if self.budget.seconds:
            spent = max(spent, self.seconds / self.budget.seconds)
        return min(spent, 1.0)

    @property
    def left(self) -> int:
        """Iterations that are likely to fit in what is left, as long as those of the last stretch.

        The first stretch tells nothing: it makes and records what the others only use.
        """
        left = self.budget.iterations - self.iteration
        rest_s = self.budget.seconds - self.seconds
        if self.budget.seconds and len(self._stretches_s) > 1:
            left = min(left, int(rest_s / self._stretches_s[-1]))
        return max(left, 0) if rest_s > 0 or not self.budget.seconds else 0

    @property
    def spent(self) -> bool:
        """Whether another iteration would go beyond the budget; the first one is always allowed."""
        return self.iteration > 0 and self.left == 0

    def due(self) -> bool:
        """Whether a snapshot is due after this iteration; the last one always gives one."""
        return self._due
