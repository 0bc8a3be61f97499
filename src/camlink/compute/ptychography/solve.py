"""Solve: the operator that reconstructs while the frames arrive, and finishes soon after the last one."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter, time

from camlink.block import CountFrames, Header, Result
from camlink.compute.ptychography.algorithm import Blend, ap, blend
from camlink.compute.ptychography.kernels.choice import warm
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.workflow.operator import Context, operator
from camlink.workflow.port import Inflow

WAIT_S = 0.1
FIRST_ITERATIONS = 10
BLOCKS_AT_ONCE = 64


@operator("ptychography.solve", kind="solver")
def solve(frames: Inflow[CountFrames], *, parameters: SolveParameters, context: Context) -> Iterator[Result]:
    """Ptychography by RAAR, DM or AP with probe retrieval, on the frames that have arrived so far.

    Yields versions with the arrays object (H, W) complex64, probe (mode, y, x) complex64 and coverage (H, W) float32.
    """
    if parameters.warm_size:
        warm(parameters.kernel, parameters.warm_size)
    work = _first(frames, parameters, context)
    if work is None:
        return
    clock = _Clock(parameters.publish_s)
    while not _complete(work, frames) and not context.stopping():
        _absorb(work, frames, wait_s=0.0 if _busy(work, parameters) else WAIT_S)
        if work.ready:
            work.begin()
        if _busy(work, parameters):
            work.advance(blend(parameters.algorithm, _relaxation(work, parameters, early=True)))
        if work.engine and work.engine.iteration >= FIRST_ITERATIONS and clock.due():
            yield _result(work, context, final=False)
    if work.engine is None:
        work.begin()
    for step in _end_game(work, parameters, context):
        work.advance(step)
        if clock.due():
            yield _result(work, context, final=False)
    if work.engine is not None:
        yield _result(work, context, final=True)
    _drain(work, frames, context)


class _Clock:
    """When the next version is due; the first one at once."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s = 0.0

    def due(self) -> bool:
        """Whether it is time; then the next time is set."""
        now = perf_counter()
        if now < self._next_s:
            return False
        self._next_s = now + self._every_s
        return True


def _first(frames: Inflow[CountFrames], parameters: SolveParameters, context: Context) -> Reconstruction | None:
    """The reconstruction that the first block calls for, or None when none came."""
    while not frames.ended and not context.stopping():
        block = frames.take(WAIT_S)
        if block is not None:
            work = Reconstruction(block.scan, parameters)
            context.tell(memory_bytes=work.memory_bytes, expected=block.scan.expected)
            work.absorb(block)
            return work
    return None


def _absorb(work: Reconstruction, frames: Inflow[CountFrames], wait_s: float) -> None:
    for _ in range(BLOCKS_AT_ONCE):
        block = frames.take(wait_s)
        if block is None:
            return
        work.absorb(block)
        wait_s = 0.0


def _complete(work: Reconstruction, frames: Inflow[CountFrames]) -> bool:
    return frames.ended or work.active >= work.scan.expected


def _busy(work: Reconstruction, parameters: SolveParameters) -> bool:
    """Whether some frame has not seen its iterations yet; else the core is better left to others."""
    return work.engine is not None and int(work.engine.ages.min(initial=parameters.iterations)) < parameters.iterations


def _relaxation(work: Reconstruction, parameters: SolveParameters, *, early: bool) -> float:
    return parameters.beta if early and not work.restless else parameters.beta_end


def _end_game(work: Reconstruction, parameters: SolveParameters, context: Context) -> Iterator[Blend]:
    """What is left to do after the last frame.

    What the whole run still lacks of the wished iterations (nothing after a scan in real time), then `polish_s`, the
    last steps by projections.
    """
    if work.engine is None:
        return
    wished = max(0, parameters.iterations - parameters.polish_iterations - work.engine.iteration)
    for done in range(wished):
        if context.stopping():
            return
        yield blend(parameters.algorithm, _relaxation(work, parameters, early=done < wished // 2))
    started = perf_counter()
    done = 0
    while done < parameters.iterations and not context.stopping():
        spent_s = perf_counter() - started
        reserve_s = (parameters.polish_iterations + 2) * spent_s / max(done, 1)
        if spent_s + reserve_s >= parameters.polish_s:
            break
        done += 1
        yield blend(parameters.algorithm, parameters.beta_end)
    for _ in range(parameters.polish_iterations):
        if not context.stopping():
            yield ap()


def _result(work: Reconstruction, context: Context, *, final: bool) -> Result:
    arrays, facts = work.arrays(), work.facts(final=final)
    problems = {name: count for name, count in work.intake.counts.items() if count}
    told = ("iteration", "active", "kernel", "ms_per_iteration", "fourier_error", "final")
    context.tell(problems=problems, **{name: facts[name] for name in told})
    return Result(Header(scan=work.scan, made_s=time(), facts=facts), arrays)


def _drain(work: Reconstruction, frames: Inflow[CountFrames], context: Context) -> None:
    """Take what comes after the end, so that no sender waits for us; it is counted."""
    late = 0
    while not frames.ended and not context.stopping():
        block = frames.take(WAIT_S)
        late += block.count if block is not None else 0
    if late:
        work.intake.counts["late"] += late
        context.tell(problems={name: count for name, count in work.intake.counts.items() if count})
