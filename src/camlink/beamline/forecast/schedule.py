"""Schedule: when pictures come while a scan runs and after it, and how many samples a visit has time for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Timing:
    """A scan of `points` frames that takes `scan_s` [s], and an iteration of all of them that takes `step_s` [s].

    The first `dark_s` [s] of the scan bring frames without beam, which the solver does not get.
    """

    points: int
    scan_s: float
    step_s: float
    solve: SolveParameters
    dark_s: float = 0.0

    @property
    def lit_s(self) -> float:
        """The time in which frames with beam arrive [s]."""
        return self.scan_s - self.dark_s

    @property
    def first_frames(self) -> int:
        """Frames that the solver waits for before its first picture."""
        return Schedule(self.solve).first_frames(self.points)


class Streaming(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures of a solver that iterates while frames arrive [s since the scan began]."""

    first_picture_s: float
    final_picture_s: float
    after_last_frame_s: float
    iterations_during_scan: int
    iterations: int


class Afterwards(msgspec.Struct, frozen=True, kw_only=True):
    """The picture of a reconstruction that starts when the scan is over [s since the scan began]."""

    picture_s: float
    transfer_s: float
    queue_s: float
    solve_s: float


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Samples that fit in a visit when the next one waits for the picture of the last, and when it does not.

    `blind` samples are measured without having seen a picture of the one before; their last picture comes
    `blind_backlog_s` after the visit when one machine reconstructs them one after the other.
    """

    visit_s: float
    change_s: float
    streaming: int
    afterwards: int
    blind: int
    blind_backlog_s: float


def iterations_while_arriving(timing: Timing) -> float:
    """Iterations done between the first picture's frames and the last frame.

    An iteration of m of n frames takes step m/n and frames arrive evenly, so their number is the integral of
    n/(step rate t) dt: lit/step ln(n/first).
    """
    return timing.lit_s / timing.step_s * math.log(timing.points / timing.first_frames)


def streaming(timing: Timing) -> Streaming:
    """When pictures come if the solver has the machine for itself; transport and reduction are not counted.

    What the scan still lacks of the wished iterations is done after the last frame, in `patience_s` at most; then
    `polish_s` is spent, as `ptychography.solve` does.
    """
    solve, part = timing.solve, timing.first_frames / timing.points
    done = iterations_while_arriving(timing)
    lacking = max(0.0, Schedule(solve).wished(timing.lit_s) - done)
    lag_s = min(lacking * timing.step_s, solve.patience_s) + max(solve.polish_s, timing.step_s)
    first_s = timing.dark_s + part * timing.lit_s + Schedule(solve).first_picture * timing.step_s * part
    return Streaming(first_picture_s=min(first_s, timing.scan_s + lag_s), final_picture_s=timing.scan_s + lag_s,
                     after_last_frame_s=lag_s, iterations_during_scan=int(done),
                     iterations=int(done + lag_s / timing.step_s))


def afterwards(timing: Timing, volume_bytes: float, transfer_B_s: float, queue_s: float) -> Afterwards:
    """When the picture comes if the frames are copied after the scan, wait in a queue, and are solved as a whole."""
    transfer_s, solve_s = volume_bytes / transfer_B_s, timing.solve.iterations * timing.step_s
    return Afterwards(picture_s=timing.scan_s + transfer_s + queue_s + solve_s, transfer_s=transfer_s, queue_s=queue_s,
                      solve_s=solve_s)


def visit(timing: Timing, live: Streaming, after: Afterwards, visit_s: float, change_s: float) -> Visit:
    """Whole samples that fit in `visit_s` [s] when each change takes `change_s` [s]; the last needs no change after."""

    def fit(one_s: float) -> int:
        return max(0, math.floor((visit_s + change_s) / (one_s + change_s) + 1e-9))

    blind = fit(timing.scan_s)
    busy_s = after.picture_s - timing.scan_s
    end_s = timing.scan_s + busy_s
    for number in range(1, blind):
        end_s = max(end_s, number * (timing.scan_s + change_s) + timing.scan_s) + busy_s
    return Visit(visit_s=visit_s, change_s=change_s, streaming=fit(live.final_picture_s),
                 afterwards=fit(after.picture_s), blind=blind,
                 blind_backlog_s=max(0.0, end_s - visit_s) if blind else 0.0)
