from __future__ import annotations

import math

import numpy as np
import pytest

from camlink.beamline.forecast.schedule import Timing, afterwards, iterations_while_arriving, streaming, visit
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.schedule import Schedule

SOLVE = SolveParameters(iterations=65, polish_iterations=5, polish_s=1.0, patience_s=20.0)


def timing(step_s=0.5, points=400, scan_s=100.0, solve=SOLVE):
    return Timing(points, scan_s, step_s, solve)


def test_iterations_while_arriving_agree_with_a_run_step_by_step():
    case = timing()
    now, done = case.scan_s * case.first_frames / case.points, 0
    while now < case.scan_s:
        now += case.step_s * now / case.scan_s
        done += 1
    assert iterations_while_arriving(case) == pytest.approx(done, rel=0.01)


def test_a_slow_scan_is_done_with_its_last_frame():
    live = streaming(timing(step_s=0.1))
    assert live.iterations_during_scan > SOLVE.iterations
    assert live.after_last_frame_s == SOLVE.polish_s
    assert live.first_picture_s == pytest.approx(5 + Schedule(SOLVE).first_picture * 0.1 / 20)


def test_frames_without_beam_come_first():
    dark = Timing(400, 110.0, 0.1, SOLVE, dark_s=10.0)
    lit = timing(step_s=0.1)
    assert streaming(dark).first_picture_s == pytest.approx(10 + streaming(lit).first_picture_s)
    assert streaming(dark).iterations_during_scan == streaming(lit).iterations_during_scan
    assert streaming(lit).iterations == pytest.approx(iterations_while_arriving(lit) + 10, abs=1)


def test_a_fast_scan_gets_its_iterations_afterwards_within_the_patience():
    case = timing(step_s=0.5, scan_s=1.0)
    live = streaming(case)
    lacking = 60 - 2 * math.log(20)
    assert live.after_last_frame_s == pytest.approx(min(lacking * 0.5, 20.0) + 1.0)
    short = streaming(timing(step_s=0.1, scan_s=1.0))
    assert short.after_last_frame_s == pytest.approx(0.1 * (60 - 10 * math.log(20)) + 1.0)


def test_all_frames_at_once_give_one_picture():
    live = streaming(timing(points=10, scan_s=1.0))
    assert live.first_picture_s <= live.final_picture_s
    assert live.iterations_during_scan == 0


def test_afterwards_is_a_sum():
    after = afterwards(timing(step_s=0.5), volume_bytes=3e9, transfer_B_s=1e8, queue_s=7)
    assert (after.transfer_s, after.solve_s) == (30, 32.5)
    assert after.picture_s == pytest.approx(100 + 30 + 7 + 32.5)


def test_samples_of_a_visit_by_hand():
    case = timing(step_s=0.1, scan_s=100.0)
    live = streaming(case)  # 101 s
    after = afterwards(case, 0, 1, queue_s=93.5)  # 100 + 93.5 + 6.5 = 200 s
    day = visit(case, live, after, visit_s=1000.0, change_s=20.0)
    assert (day.streaming, day.afterwards, day.blind) == (8, 4, 8)
    # sample k of 8 ends at 100 + 120 k, each takes 100 s more: the last picture comes at 940 + 100
    assert day.blind_backlog_s == pytest.approx(40)


def test_a_busy_machine_works_off_its_queue():
    case = timing(step_s=0.1, scan_s=100.0)
    after = afterwards(case, 0, 1, queue_s=193.5)  # 200 s of work for every 120 s of beam
    day = visit(case, streaming(case), after, visit_s=340.0, change_s=20.0)
    assert day.blind == 3
    assert day.blind_backlog_s == pytest.approx(100 + 3 * 200 - 340)


@pytest.mark.parametrize("points", [5, 20, 401, 1600])
def test_the_first_frames_are_those_of_the_solver(points):
    from camlink.block import CountFrames, Header, Scan
    from camlink.compute.ptychography.reconstruction import Reconstruction

    scan = Scan(id="s", expected=points, shape=(16, 16), pixel_m=(1e-4, 1e-4), distance_m=1.0, energy_eV=800.0,
                span_m=(0.0, 0.0, 0.0, 0.0))
    work, first = Reconstruction(scan, SOLVE), timing(points=points).first_frames

    def give(start, stop):
        rows = np.arange(start, stop)
        n = len(rows)
        work.absorb(CountFrames(Header(scan=scan, made_s=0.0), {
            "frames": np.ones((n, 16, 16), np.float32), "index": rows, "point": rows, "kind": np.ones(n, np.uint8),
            "dwell_s": np.ones(n), "position_m": np.zeros((n, 2)), "time_s": np.zeros(n)}))

    give(0, first - 1)
    assert not work.ready
    give(first - 1, first)
    assert work.ready
