"""A scan on several GPUs: the same result as on one, recorded or not, and an end when a rank is killed."""

import os
import signal
from contextlib import closing

import numpy as np
import pytest

from camlink.compute.arrays import gpu_count, gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.bench import Case, Problem, engine_of
from camlink.compute.ptychography.bench.gpus import team_of
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.refine.wanted import object_steps, refinements
from camlink.errors import PeerLost

GPUS = gpu_count()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    GPUS < 2, reason=f"fewer than two GPUs to share a scan: {gpu_trouble() or f'{GPUS} is here'}")]
SINGLE = np.dtype(np.float32)


def gap(one, other):
    one, other = to_host(one), to_host(other)
    return np.abs(one - other).max() / np.abs(other).max()


def alone(problem):
    side = problem.amplitude.shape[1]
    return engine_of(problem, choose("cuda", (side, side), 1, SINGLE))


@pytest.mark.parametrize("side", [64, 128, 48])
def test_two_gpus_are_one(side):
    problem = Problem.of(Case(120, side, "cuda"))
    engine = alone(problem)
    with closing(team_of(problem, 2)) as team:
        for one in (engine, team):
            one.iterate(raar(0.75), refine_probe=True)
        assert gap(team.image, engine.image) < 1e-5
        assert gap(team.probe, engine.probe) < 1e-5
        for one in (engine, team):
            for _ in range(5):  # long enough to be recorded and repeated, with the probe
                one.iterate(raar(0.75), refine_probe=True)
            one.centre()
            for _ in range(5):  # and without
                one.iterate(raar(0.75))
        assert gap(team.image, engine.image) < 5e-3  # rounding errors of random frames grow
        assert gap(team.coverage, engine.coverage) < 1e-3
        assert gap(team.evidence(), engine.evidence()) < 5e-3
        assert team.fourier_error() == pytest.approx(engine.fourier_error(), rel=1e-3)


def test_late_frames_and_corrected_positions():
    problem = Problem.of(Case(100, 64, "cuda"))
    engine = alone(problem)
    moved = problem.corners[[0, 99]][::-1].astype(float)
    with closing(team_of(problem, 2)) as team:
        for one in (engine, team):
            one.iterate(raar(0.75), refine_probe=True)
            one.put(np.array([0, 99]), problem.amplitude[[0, 99]], moved, np.ones(2, np.float32))
            one.iterate(raar(0.75), refine_probe=True)
        assert gap(team.image, engine.image) < 1e-4


@pytest.mark.parametrize(("refined", "tolerance"), [
    (SolveParameters(positions_every=2), 5e-3), (SolveParameters(gains_every=2), 5e-3),
    (SolveParameters(background_every=2), 5e-3), (SolveParameters(edges=1e-3, object_most=1.5), 5e-3)],
    ids=["positions", "gains", "background", "steps"])
def test_two_gpus_refine_as_one_does(refined, tolerance):
    problem = Problem.of(Case(120, 64, "cuda"))
    engine = engine_of(problem, choose("cuda", (64, 64), 1, SINGLE), fractions=4, refinements=refinements(refined),
                       object_steps=object_steps(refined))
    with closing(team_of(problem, 2, fractions=4, refined=refined)) as team:
        for one in (engine, team):
            for _ in range(12):
                one.iterate(raar(0.75), refine_probe=True)
        near = np.abs(to_host(team.image) - to_host(engine.image)) / np.abs(to_host(engine.image)).max()
        assert np.quantile(near, 0.99) < tolerance


def iterate(team, times=200):
    for _ in range(times):
        team.iterate(raar(0.75), refine_probe=True)


def test_a_killed_rank_ends_the_wait_of_the_gpu():
    team = team_of(Problem.of(Case(120, 64, "cuda")), 2)
    iterate(team, 5)
    os.kill(team._seats.pids[1], signal.SIGKILL)
    with pytest.raises(PeerLost, match="rank 1"):
        iterate(team)
