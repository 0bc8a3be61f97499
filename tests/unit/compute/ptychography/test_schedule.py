"""The schedule: it sweeps while that helps, switches by the gain, and ends with projections."""

import pytest

from camlink.compute.ptychography.algorithm import Rule, ap, dm, raar
from camlink.compute.ptychography.minibatch import Manner
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.schedule import FINE, ROUGH, Condition, Outlook, Schedule, Sweep

ARRIVING = Outlook(True, 0.0, float("inf"))
HALF = Outlook(False, 0.5, 30)
LAST = Outlook(False, 0.95, 3)


def steps(gains, changed=1, **changes):
    """What the schedule says when these gains are heard one after the other."""
    schedule = Schedule(SolveParameters(**changes))
    counts = changed if isinstance(changed, list) else [changed] * len(gains)
    return [schedule.next(Condition(count, gain), HALF) for count, gain in zip(counts, gains, strict=True)]


def test_small_batches_give_way_to_large_ones_when_the_gain_no_longer_falls():
    assert steps([None, 0.2, 0.1, 0.05, 0.048, 0.04]) == [Sweep(ROUGH)] * 4 + [Sweep(FINE)] * 2


def test_new_frames_begin_anew():
    assert steps([None, 0.2, 0.19, 0.3, 0.1], [50, 50, 50, 60, 60])[2:] == [Sweep(FINE), Sweep(ROUGH), Sweep(ROUGH)]


def test_it_ends_with_projections_but_not_while_frames_arrive():
    schedule = Schedule(SolveParameters())
    assert schedule.next(Condition(9, 0.1), LAST) == Rule(ap())
    assert schedule.next(Condition(9, 0.1), Outlook(True, 0.0, 1)) == Sweep(ROUGH)


def test_where_nothing_can_sweep_it_is_raar():
    schedule = Schedule(SolveParameters())
    condition = Condition(9, None, sweeps=False)
    assert schedule.next(condition, ARRIVING) == Rule(raar(0.9))
    assert schedule.next(condition, HALF) == Rule(raar(0.75))
    assert schedule.next(Condition(9, None, restless=True, sweeps=False), ARRIVING) == Rule(raar(0.75))


@pytest.mark.parametrize(("algorithm", "step"), [
    ("raar", Rule(raar(0.75))), ("dm", Rule(dm())), ("ap", Rule(ap())),
    ("epie", Sweep(Manner(1.0, fitted=False, frames=20))), ("rpie", Sweep(Manner(0.1, fitted=False, frames=20))),
    ("lsqml", Sweep(Manner(frames=20)))])
def test_a_single_algorithm_stays_what_it_is(algorithm, step):
    assert steps([None, 0.1, 0.1], algorithm=algorithm) == [step] * 3


def test_admm_is_soft_first_and_never_ends_with_projections():
    schedule = Schedule(SolveParameters(algorithm="admm", likeness="gaussian", stiffness=4.0))
    first, later, last = (schedule.next(Condition(9), outlook) for outlook in (Outlook(False, 0.1, 50), HALF, LAST))
    assert (first.blend, first.term.likeness, first.term.stiffness) == (dm(), "gaussian", 1.0)
    assert later == last
    assert later.term.stiffness == 4.0


@pytest.mark.parametrize(("manner", "count", "batches"), [
    (Manner(batches=16), 400, 16), (Manner(batches=16), 40, 5), (Manner(batches=16), 3, 1), (Manner(), 0, 1),
    (Manner(frames=20), 401, 21), (Manner(frames=20), 1, 1)])
def test_a_sweep_has_batches_of_enough_frames(manner, count, batches):
    assert manner.split(count) == batches


def test_a_scan_that_was_watched_wants_less_at_its_end():
    schedule = Schedule(SolveParameters(iterations=40, polish_iterations=5, patience_s=10.0))
    assert schedule.wished(took_s=1.0) == 35
    assert schedule.wished(took_s=11.0) == 5
