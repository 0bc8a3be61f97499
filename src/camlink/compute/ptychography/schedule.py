"""Schedule: the next step of a reconstruction, from what is known of it; the operator and the contest ask the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.minibatch import Manner
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.prox import DataTerm

ROUGH: Final = Manner(momentum=0.8, batches=16)
FINE: Final = Manner(momentum=0.9, batches=4)
"""Small batches are fast and leave noise, large ones average it away; both share the momentum."""
SETTLED: Final = 0.9
SOFT_PART: Final = 0.25
SOFTER: Final = 4.0
LIVE_PART: Final = 4
BATCH_FRAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """A step that takes every frame once, in batches."""

    manner: Manner


Step = Rule | Sweep


@dataclass(frozen=True, slots=True)
class Condition:
    """Where a reconstruction stands.

    `changes` counts how often frames came or were corrected; `gain` is that of the last sweep (see Minibatch.sweep)
    or None; `restless` whether the error has risen well above its best; `sweeps` whether it sweeps where its engine
    works.
    """

    changes: int
    gain: float | None = None
    restless: bool = False
    sweeps: bool = True


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is ahead: whether frames still come, the part of the way that is done (0..1), and the steps left."""

    arriving: bool
    progress: float
    left: float


class Schedule:
    """Names the next step for the algorithm of `parameters`; ask once for every step.

    "auto" sweeps in small batches until the gain no longer falls (only noise is left to be fitted, new frames make it
    fall again), then in large ones with more momentum, which average the noise and find the slow, smooth part of the
    phase, and ends with projections. Where an engine cannot sweep it is RAAR.
    """

    def __init__(self, parameters: SolveParameters) -> None:
        self.parameters = parameters
        self._changes = -1
        self._gain: float | None = None
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether the gain no longer falls."""
        return self._settled

    def go_on(self, changes: int) -> None:
        """Be settled, with the frames that came in `changes` changes, as an earlier attempt was."""
        self._changes, self._settled = changes, True

    def first_frames(self, expected: int) -> int:
        """Frames of a scan of `expected` that are waited for before the first step."""
        return min(self.parameters.first_frames or max(20, -(-expected // 20)), expected)

    @property
    def first_picture(self) -> int:
        """Steps after which there is something to see."""
        return 3 if self.parameters.algorithm == "auto" else 10

    def wished(self, took_s: float) -> int:
        """Steps that a scan wants before its last ones, after it took `took_s` [s] to arrive.

        One that took longer than the patience was watched while it ran; a part is enough, so that its end is not late.
        """
        known = self.parameters
        part = LIVE_PART if took_s > known.patience_s else 1
        return max(0, known.iterations // part - known.polish_iterations)

    def next(self, condition: Condition, outlook: Outlook) -> Step:
        """The next step."""
        known, name = self.parameters, self.parameters.algorithm
        sweep = self._sweep(condition)
        if sweep is not None and name != "auto":
            return sweep
        if name == "admm":
            softer = SOFTER if outlook.progress < SOFT_PART and not outlook.arriving else 1.0
            return Rule(dm(), DataTerm(known.likeness, known.stiffness / softer))
        if not outlook.arriving and outlook.left <= known.polish_iterations:
            return Rule(ap())
        if sweep is not None:
            return sweep
        calm = condition.restless or outlook.progress >= 0.5
        alone = {"dm": dm(), "ap": ap()}
        return Rule(alone.get(name) or raar(known.beta_end if calm else known.beta))

    def _sweep(self, condition: Condition) -> Sweep | None:
        """The sweep that the algorithm asks for, if it is one of those."""
        frames = self.parameters.batch_frames or BATCH_FRAMES
        match self.parameters.algorithm:
            case "epie":
                return Sweep(Manner(regular=1.0, fitted=False, frames=frames))
            case "rpie":
                return Sweep(Manner(regular=0.1, fitted=False, frames=frames))
            case "lsqml":
                return Sweep(Manner(frames=frames))
            case "auto" if condition.sweeps:
                return Sweep(FINE if self._calm(condition) else ROUGH)
        return None

    def _calm(self, condition: Condition) -> bool:
        """Whether the gain no longer falls; new or corrected frames start it anew."""
        if condition.changes != self._changes:
            self._changes, self._gain, self._settled = condition.changes, None, False
            return False
        if condition.gain is not None and self._gain is not None and condition.gain > SETTLED * self._gain:
            self._settled = True
        self._gain = condition.gain
        return self._settled
