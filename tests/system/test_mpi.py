"""A script that mpirun starts several times: one leads, the others work for it, and all end together."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from camlink.compute.ptychography.many.mpi import join
from camlink.errors import InputError

HERE = Path(__file__).parent
BESIDE = Path(sys.executable).parent / "mpirun"  # of the package mpich, for the tests
MISSING = "" if BESIDE.exists() and importlib.util.find_spec("mpi4py") else "no mpirun and mpi4py beside this Python"
mpi = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SCRIPT = """
import os, sys
from contextlib import closing
from camlink.compute.ptychography.many.mpi import join
os.write(1, f"pid {os.getpid()}\\n".encode())  # in one piece, beside those of the others
seats = join()
sys.path.insert(0, sys.argv[1])
import test_ranks as t
for _ in range(2):
    alone = t.one()
    team = t.Team(seats, t.GEOMETRY, t.COUNT, kernel="reference", real=t.DOUBLE, corners=t.CORNERS,
                  **t.start(t.DOUBLE, "reference"))
    with closing(team):
        for engine in (alone, team):
            t.put(engine)
            engine.iterate(t.raar(0.9), refine_probe=True)
        print("gap", t.gap(t.found(team), t.found(alone)), flush=True)
        while sys.argv[2] == "forever":
            team.iterate(t.raar(0.9))
        assert sys.argv[2] != "fails", "on purpose"
"""


def start(ranks, what):
    return subprocess.Popen([BESIDE, "-n", str(ranks), sys.executable, "-c", SCRIPT, str(HERE), what],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def gone(pids, within_s=20.0):
    ends = time.monotonic() + within_s
    while time.monotonic() < ends and any(psutil.pid_exists(pid) for pid in pids):
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


def said(out, word):
    return [line.split()[1] for line in out.splitlines() if line.startswith(word)]


@mpi
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_n_ranks_are_one(ranks):
    with start(ranks, "once") as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert len(said(out, "pid")) == ranks
    assert [float(gap) < 1e-12 for gap in said(out, "gap")] == [True, True]


@mpi
@pytest.mark.slow
def test_a_leader_that_fails_ends_them_all():
    with start(3, "fails") as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "on purpose" in errors
    assert gone([int(pid) for pid in said(out, "pid")])


@mpi
@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 2])
def test_a_killed_rank_ends_them_all(which):
    with start(3, "forever") as process:
        pids, worked = [], False
        for line in process.stdout:
            pids += [int(pid) for pid in said(line, "pid")]
            worked = worked or line.startswith("gap")
            if worked and len(pids) == 3:  # lines of several processes come in any order
                break
        os.kill(sorted(pids)[which], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone(pids)


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first time it compiles
@pytest.mark.parametrize("launch", [[], pytest.param([BESIDE, "-n", "3"], marks=mpi)], ids=["alone", "mpirun"])
def test_the_example_reconstructs(launch):
    command = [*launch, sys.executable, HERE.parents[1] / "examples" / "reconstruct_together.py"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    assert f"{3 if launch else 2} workers, 144 frames in memory" in out
    assert float(out.split()[-1]) < 0.2


def test_alone_there_is_nobody_to_join(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert join() is None


def test_without_mpi4py_the_ranks_are_told_apart(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(InputError, match=r"mpirun started 4 ranks .* camlink\[mpi\]"):
        join()
