"""A scan on several processes of this host: the same result, and an end whoever is killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.many.orders import Put
from camlink.compute.ptychography.many.processes import Processes
from camlink.compute.ptychography.many.team import Team
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Slots
from camlink.errors import PeerLost

pytestmark = pytest.mark.slow
SIDE = 16
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
COUNT = 29
RNG = np.random.default_rng(3)
CORNERS = np.stack(np.divmod(np.arange(COUNT), 6), axis=1) * 4 + RNG.integers(0, 3, (COUNT, 2))
SHAPE = tuple(int(side) for side in CORNERS.max(axis=0) + SIDE + 2)
GEOMETRY = Geometry((SIDE, SIDE), SHAPE, (1.0, 1.0), (0.0, 0.0), 0)
AMPLITUDE = np.abs(RNG.standard_normal((COUNT, SIDE, SIDE)))
PROBE = RNG.standard_normal((1, SIDE, SIDE)) + 1j * RNG.standard_normal((1, SIDE, SIDE))
IMAGE = np.exp(1j * RNG.uniform(-0.5, 0.5, SHAPE))
ORDER = RNG.permutation(COUNT)


def start(real, kernel):
    complex_ = np.result_type(real, np.complex64)
    return {"probe": PROBE.astype(complex_), "image": IMAGE.astype(complex_),
            "constraints": Constraints(None, float((np.abs(PROBE) ** 2).sum()))}


def one(real=DOUBLE, kernel="reference"):
    return Engine(GEOMETRY, Slots(COUNT, 1, (SIDE, SIDE), real), choose(kernel, (SIDE, SIDE), 1, real),
                  **start(real, kernel))


def several(ranks, real=DOUBLE, kernel="reference", patience_s=60.0, corners=CORNERS):
    return Team(Processes(ranks, patience_s), GEOMETRY, COUNT, kernel=kernel, real=real, corners=corners,
                **start(real, kernel))


def put(engine, rows=ORDER, corners=CORNERS, real=DOUBLE):
    return engine.put(rows, AMPLITUDE[rows].astype(real), corners[rows].astype(float), np.ones(len(rows), real))


def found(engine):
    return [np.array(part) for part in (engine.image, engine.probe, engine.coverage, engine.evidence(),
                                        engine.fourier_error())]


def gap(one_, other):
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(one_, other, strict=True))


def gone(pids, within_s=15.0):
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not alive:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("ranks", [2, 3, 7])
@pytest.mark.parametrize("known", [True, False])
def test_n_ranks_are_one(ranks, known):
    alone = one()
    with closing(several(ranks, corners=CORNERS if known else None)) as team:
        for engine in (alone, team):
            put(engine, ORDER[:20])
            engine.iterate(raar(0.9))
            put(engine, ORDER[20:])
            engine.iterate(raar(0.9), refine_probe=True)
        assert gap(found(team), found(alone)) < 1e-12
        assert team.active == COUNT
        assert np.array_equal(np.sort(team.ages), np.sort(alone.ages))


def test_compiled_kernels_share_the_cores_and_repeat_their_bits():
    alone = one(SINGLE, "compiled")
    results = []
    for _ in range(2):
        with closing(several(2, SINGLE, "compiled")) as team:
            put(team, real=SINGLE)
            team.iterate(raar(0.75), refine_probe=True)
            results.append(found(team))
    put(alone, real=SINGLE)
    alone.iterate(raar(0.75), refine_probe=True)
    assert gap(results[0], found(alone)) < 1e-5
    assert all(np.array_equal(first, again) for first, again in zip(*results, strict=True))


def test_a_corrected_position_may_change_the_rank():
    alone = one()
    corrected = CORNERS.copy()
    corrected[[0, COUNT - 1]] = corrected[[COUNT - 1, 0]]  # from one end of the scan to the other, and back
    with closing(several(3)) as team:
        for engine in (alone, team):
            put(engine)
            engine.iterate(raar(0.9))
            assert put(engine, np.array([0, COUNT - 1, 5]), corrected) == 0
            engine.iterate(raar(0.9))
        assert gap(found(team), found(alone)) < 1e-12
        assert team.active == COUNT


def test_frames_beyond_the_expected_find_no_room():
    with closing(several(2)) as team:
        put(team)
        extra = np.array([COUNT + 5])
        assert team.put(extra, AMPLITUDE[:1], CORNERS[:1].astype(float), np.ones(1)) == 1


def running(ranks, patience_s=60.0):
    """A team at work, and the processes of its ranks."""
    seats = Processes(ranks, patience_s)
    pids = seats.pids
    team = Team(seats, GEOMETRY, COUNT, kernel="reference", real=DOUBLE, corners=CORNERS, **start(DOUBLE, "reference"))
    put(team)
    team.iterate(raar(0.9))
    return team, pids


def iterate(team, times=3):
    for _ in range(times):
        team.iterate(raar(0.9))


def test_a_killed_rank_is_named_and_nothing_is_left():
    team, pids = running(3)
    os.kill(pids[2], signal.SIGKILL)
    with pytest.raises(PeerLost, match=rf"rank 2 \(process {pids[2]}\) ended with SIGKILL"):
        iterate(team)
    assert gone(pids.values())
    team.close()


def test_a_rank_that_hangs_is_given_up():
    team, pids = running(2)
    team._seats._patience_s = team._member._courier._patience_s = 1.0  # to start may take longer
    os.kill(pids[1], signal.SIGSTOP)
    with pytest.raises(PeerLost, match=r"rank 1 .* within 1 s"):
        iterate(team)
    assert gone(pids.values())


def test_what_a_rank_cannot_do_is_told():
    team, pids = running(3)
    seats = team._seats
    none = [[np.zeros(0, np.int64), AMPLITUDE[:0], np.zeros((0, 2)), np.zeros(0)]] * 2
    seats.replies()
    seats.send(Put(), [[], *none[:1], [np.zeros(1, np.int64), AMPLITUDE[:1, :5], np.zeros((1, 2)), np.ones(1)]])
    with pytest.raises(PeerLost, match=r"rank 2 failed: ValueError"):
        seats.replies()
    assert gone(pids.values())


LEADER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_ranks as t
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.many.orders import Put
from camlink.compute.ptychography.many.processes import Processes
seats = Processes(3)
team = t.Team(seats, t.GEOMETRY, t.COUNT, kernel="reference", real=t.DOUBLE, corners=t.CORNERS,
              **t.start(t.DOUBLE, "reference"))
t.put(team)
team.iterate(raar(0.9))
print(*seats.pids.values(), flush=True)
while sys.argv[2] == "busy":
    team.iterate(raar(0.9))
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["busy", "idle"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_leader_leaves_nothing(how, blow):
    before = set(Path("/dev/shm").glob("*camlink*"))
    with subprocess.Popen([sys.executable, "-c", LEADER, str(Path(__file__).parent), how], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as leader:
        pids = [int(pid) for pid in leader.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.2)
        leader.send_signal(blow)
        leader.wait(30)
    assert gone(pids)
    assert set(Path("/dev/shm").glob("*camlink*")) <= before
