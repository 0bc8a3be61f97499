"""Links between real processes that are killed: nothing is lost, everything is counted, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Kind, Outlet
from camlink.testing.ends import Ends, offer

pytestmark = pytest.mark.slow

FRAMES = 600
NBYTES = 200_000
RECEIVER = Path(__file__).with_name("link_receiver.py")


def named() -> list[str]:
    return [name for name in os.listdir("/dev/shm") if "camlink" in name]


def held() -> list[str]:
    """Shared memory of links that this process has mapped or open."""
    found = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:camlink" in line]
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread has closed it
            found += [str(file)] if "memfd:camlink" in os.readlink(file) else []
    return found


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def receiver(outlet: Outlet, name: str, attempt: int, journal: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(RECEIVER), outlet.address, name, str(attempt), str(journal)])


@pytest.mark.parametrize("kind", ["shm", "zmq"])
def test_receivers_that_are_killed_at_random_cost_no_block(
        tmp_path: Path, kind: Kind, started: list[subprocess.Popen[bytes]]) -> None:
    outlet = make_outlet(zmq.Context.instance(), kind, "l", str(tmp_path / "s"), receivers=2, limit_bytes=8 * NBYTES)
    ends = Ends(outlet, lambda name, attempt: pytest.fail("not here"))
    chance, journals = random.Random(5), [tmp_path / "a.txt", tmp_path / "b.txt"]
    attempts, names = [0, 0], ["a", "b"]
    processes = [receiver(outlet, names[n], 0, journals[n]) for n in range(2)]
    started += processes
    number, kills = 0, 0
    deadline = time.monotonic() + 100
    due = [FRAMES // 10 * (n + 1) for n in range(8)]
    while not outlet.finished:
        assert time.monotonic() < deadline, f"{outlet.account.snapshot()}"
        outlet.pump()
        if number < FRAMES and offer(ends, number, NBYTES):
            number += 1
        elif number == FRAMES and not due:
            outlet.finish()
            time.sleep(0.001)
        if due and number >= due[0] and outlet.ready:
            due.pop(0)
            victim = chance.randrange(2)
            processes[victim].send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            processes[victim].wait()
            kills += 1
            outlet.lose(names[victim], "killed", attempt=attempts[victim])
            attempts[victim] += 1
            processes[victim] = receiver(outlet, names[victim], attempts[victim], journals[victim])
            started.append(processes[victim])
    assert kills == 8
    rows = [tuple(map(int, line.split())) for path in journals for line in path.read_text().splitlines()
            if line.count(" ") == 2]
    assert {row[0] for row in rows} == set(range(FRAMES))
    assert all(good for _, _, good in rows)
    first = [row[0] for row in rows if not row[1]]
    assert len(first) == len(set(first))  # what comes twice is marked
    snapshot = outlet.account.snapshot()
    assert snapshot.fault() == ""
    assert (snapshot.sent, snapshot.acknowledged, snapshot.lost) == (FRAMES, FRAMES, {})
    assert snapshot.peak_queue_bytes <= 8 * NBYTES
    outlet.close()
    assert named() == held() == []
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".shm"] == []


def test_a_killed_sender_leaves_nothing_and_its_blocks_stay_readable(
        tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    code = ("import sys, time, zmq; from camlink.carry.kinds import make_outlet\n"
            "from camlink.testing.ends import Ends, offer, until\n"
            "o = make_outlet(zmq.Context(), 'shm', 'l', sys.argv[1]); e = Ends(o, None)\n"
            "until(lambda: o.pump() or o.ready, 'hello')\n"
            "assert all(offer(e, n, 1_000_000) for n in range(20)); print('sent', flush=True); time.sleep(60)\n")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE)
    started.append(process)
    deadline = time.monotonic() + 30
    while not (tmp_path / "s.shm").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    inlet = make_inlet(zmq.Context.instance(), f"shm://{tmp_path}/s.shm", "l", "r")
    assert process.stdout is not None
    assert process.stdout.readline() == b"sent\n"
    process.kill()
    process.wait()
    process.stdout.close()
    blocks = []
    while (block := inlet.receive()) is not None:
        blocks.append(block)
    assert [b.header.sequence for b in blocks] == list(range(20))
    assert all((b.arrays["a"] == b.header.sequence).all() for b in blocks)
    assert held()
    inlet.cut()
    assert inlet.receive() is None
    assert inlet.ended
    inlet.close()
    del blocks, block
    assert named() == []
    assert held() == []  # and nobody else had it: the kernel has freed it
