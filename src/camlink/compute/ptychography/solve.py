"""Solve: the operator that reconstructs while the frames arrive, and finishes soon after the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from statistics import median
from time import perf_counter, time

from camlink.block import Array, CountFrames, Fact, Header, Result
from camlink.compute.ptychography.parameters import MADE_WITH, SolveParameters
from camlink.compute.ptychography.practice import practise
from camlink.compute.ptychography.reconstruction import ERROR_FRAMES, Reconstruction
from camlink.compute.ptychography.schedule import Outlook, Schedule
from camlink.errors import FormatError
from camlink.workflow.operator import Context, operator
from camlink.workflow.port import Inflow

WAIT_S = 0.1
BLOCKS_AT_ONCE = 64
DRAIN_S = 2.0
RECENT = 5
ENDLESS = float("inf")
KEPT_BY_ALL = ("algorithm", "total_variation", "background_every", "gains_every", "positions_every", "object_kind",
               "object_least", "object_most", "edges")
ARRIVING = Outlook(True, 0.0, ENDLESS)


def _compile(parameters: SolveParameters) -> None:
    if parameters.warm_size:
        practise(parameters, parameters.warm_size)


def stays(parameters: SolveParameters) -> dict[str, str]:
    """What everything that is there was made with; with several processes also what each of them keeps."""
    found = dict.fromkeys(MADE_WITH, "what was made of the frames so far was made with it")
    if parameters.workers != 1:
        found |= dict.fromkeys(KEPT_BY_ALL, "each of the processes that share the scan keeps it")
    return found


@operator("ptychography.solve", kind="solver", out="image", prepare=_compile, stays=stays,
          ahead=("camlink.compute.compiler", "camlink.compute.ptychography.kernels.compiled", "scipy.fft"))
def solve(frames: Inflow[CountFrames], *, parameters: SolveParameters, context: Context) -> Iterator[Result]:
    """Ptychography with probe retrieval, on the frames that have arrived so far.

    Corrections that come after the last version, of frames or of positions, make another one. Parameters that are set
    meanwhile hold from the next iteration on (see `stays`).
    Yields versions with the arrays object (H, W) complex64, probe (mode, y, x) complex64 and coverage (H, W) float32.
    """
    work = _first(frames, parameters, context)
    if work is None:
        return
    with closing(work):
        yield from _versions(work, frames, parameters, context)


def _versions(work: Reconstruction, frames: Inflow[CountFrames], parameters: SolveParameters,
              context: Context) -> Iterator[Result]:
    clock, pace = _Clock(), _Pace(work, Schedule(parameters), context)
    while not _complete(work, frames) and not context.stopping():
        pace.change()
        _absorb(work, frames, wait_s=0.0 if _busy(work) else WAIT_S)
        if work.ready:
            pace.begin()
        if _complete(work, frames):
            break
        if _busy(work):
            pace.advance(ARRIVING)
        if work.engine and work.engine.iteration >= pace.schedule.first_picture and clock.due(work.parameters):
            yield _result(pace, context, final=False)
    ends_s = perf_counter() + DRAIN_S
    while not _complete(work, frames) and perf_counter() < ends_s:  # stopped: what was under way is in the picture too
        _absorb(work, frames, WAIT_S)
    if work.engine is None:
        pace.begin()
    while True:
        for outlook in _end_game(pace, context):
            _absorb(work, frames, wait_s=0.0)
            pace.advance(outlook)
            pace.change()
            if clock.due(work.parameters):
                yield _result(pace, context, final=False)
        if work.engine is not None:
            yield _result(pace, context, final=True)
        if not _changed_afterwards(work, frames, context):
            return


class _Clock:
    """When the next version is due; the first one at once."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def due(self, parameters: SolveParameters) -> bool:
        """Whether it is time; then the next time is set."""
        now = perf_counter()
        if now < self._next_s:
            return False
        self._next_s = now + parameters.publish_s
        return True


class _Pace:
    """Advances a reconstruction, makes its versions and checkpoints, and remembers what steps and versions cost."""

    def __init__(self, work: Reconstruction, schedule: Schedule, context: Context) -> None:
        self.work = work
        self.schedule = schedule
        self._context = context
        self.started_s = perf_counter()
        self._steps_s: deque[float] = deque(maxlen=RECENT)
        self._picture_s: float | None = None
        self._error_s: float | None = None

    @property
    def step_s(self) -> float:
        """What an iteration costs: the median of the last few."""
        return median(self._steps_s) if self._steps_s else 0.0

    @property
    def version_s(self) -> float:
        """What the last version is going to cost; its error is taken on all frames, that of others on some."""
        picture_s = self.step_s if self._picture_s is None else self._picture_s
        error_s = self.step_s if self._error_s is None else self._error_s * self.work.active
        return picture_s + error_s

    def change(self) -> None:
        """Go on with the parameters that somebody has set."""
        parameters = self._context.changed(self.work.parameters)
        if parameters != self.work.parameters:
            self.work.change(parameters)
            self.schedule.parameters = parameters

    def begin(self) -> None:
        """Start the engine, from where an earlier attempt stood if there was one."""
        self.work.begin()
        if (stood := self.work.stood) and stood.settled:
            self.schedule.go_on(self.work.changes)

    def advance(self, outlook: Outlook) -> None:
        """One step."""
        started_s = perf_counter()
        self.work.advance(self.schedule.next(self.work.condition, outlook))
        self._steps_s.append(perf_counter() - started_s)
        self._context.keep(lambda: self.work.keep(settled=self.schedule.settled))

    def version(self, *, final: bool) -> tuple[dict[str, Array], dict[str, Fact]]:
        """Arrays and facts of a Result."""
        started_s = perf_counter()
        arrays = self.work.arrays()
        made_s = perf_counter()
        facts = self.work.facts(final=final)
        self._picture_s = made_s - started_s
        self._error_s = (perf_counter() - made_s) / max(1, min(self.work.active, ERROR_FRAMES))
        return arrays, facts


def _first(frames: Inflow[CountFrames], parameters: SolveParameters, context: Context) -> Reconstruction | None:
    """The reconstruction that the first block calls for, or None when none came."""
    while not frames.ended and not context.stopping():
        block = frames.take(WAIT_S)
        if block is not None:
            work = Reconstruction(block.scan, parameters)
            context.tell(memory_bytes=work.memory_bytes, expected=block.scan.expected)
            _go_on(work, context)
            work.absorb(block)
            return work
    return None


def _go_on(work: Reconstruction, context: Context) -> None:
    """Go on from the checkpoint of an earlier attempt, if it kept one of this scan."""
    if (kept := context.kept) is not None:
        try:
            context.tell(went_on_from=work.go_on(kept))
        except FormatError as error:
            context.tell(checkpoint=f"began anew: {error}")


def _absorb(work: Reconstruction, frames: Inflow[CountFrames], wait_s: float) -> None:
    for _ in range(BLOCKS_AT_ONCE):
        block = frames.take(wait_s)
        if block is None:
            return
        work.absorb(block)
        wait_s = 0.0


def _complete(work: Reconstruction, frames: Inflow[CountFrames]) -> bool:
    return frames.ended or work.active >= work.scan.expected


def _busy(work: Reconstruction) -> bool:
    """Whether some frame has not seen its iterations yet; else the core is better left to others."""
    iterations = work.parameters.iterations
    return work.engine is not None and int(work.engine.ages.min(initial=iterations)) < iterations


def _end_game(pace: _Pace, context: Context) -> Iterator[Outlook]:
    """What is left to do after the last frame.

    What the whole run still lacks of the wished iterations, for `patience_s` at most. Then, in `polish_s` or what is
    left of the patience, more iterations and the last steps by projections. The time of the last version is kept free;
    one projection is done whatever it costs.
    """
    work = pace.work
    if work.engine is None:
        return
    begun_s, begun, took_s = perf_counter(), work.engine.iteration, perf_counter() - pace.started_s
    while (done := work.engine.iteration - begun) < (wished := max(0, pace.schedule.wished(took_s) - begun)):
        if context.stopping() or perf_counter() + pace.step_s > begun_s + work.parameters.patience_s:
            break
        yield Outlook(False, done / wished, ENDLESS)
    ends_s = begun_s + (work.parameters.patience_s if done or wished else 0.0)
    polished_s = perf_counter() + work.parameters.polish_s
    for _ in range(work.parameters.iterations):
        reserve_s = (work.parameters.polish_iterations + 1) * pace.step_s + pace.version_s
        if context.stopping() or perf_counter() + reserve_s >= polished_s:
            break
        yield Outlook(False, 1.0, ENDLESS)
    ends_s = max(ends_s, polished_s)
    for done in range(work.parameters.polish_iterations):
        if context.stopping() or (done and perf_counter() + pace.step_s + pace.version_s > ends_s):
            return
        yield Outlook(False, 1.0, 1.0)


def _result(pace: _Pace, context: Context, *, final: bool) -> Result:
    work = pace.work
    arrays, facts = pace.version(final=final)
    problems = {name: count for name, count in work.intake.counts.items() if count}
    told = ("iteration", "active", "kernel", "workers", "frames_in", "ms_per_iteration", "fourier_error", "final")
    context.tell(problems=problems, **{name: facts[name] for name in told})
    return Result(Header(scan=work.scan, made_s=time(), facts=facts), arrays)


def _changed_afterwards(work: Reconstruction, frames: Inflow[CountFrames], context: Context) -> bool:
    """Wait for the senders to close; True as soon as they correct something, which calls for another last version."""
    while not frames.ended and not context.stopping():
        before = work.changes
        _absorb(work, frames, WAIT_S)
        if work.changes != before and work.engine is not None:
            return True
    return False
