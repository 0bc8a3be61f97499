"""Real nurseries: who is born, what becomes of it, and what becomes of the nursery."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from held import held

from camlink.errors import PeerLost
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.nursery import MOST_BYTES, Birth
from camlink.runtime.place import births as under_test
from camlink.runtime.place.births import LOST, MOST_DEATHS, UNBORN, Births
from camlink.runtime.place.local import LOOKS, LocalPlacer, Processes

pytestmark = pytest.mark.slow
LINE = "camera/0/0"
_others: set[psutil.Process] = set()


def children() -> set[psutil.Process]:
    return set(psutil.Process().children()) - _others


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Children that pytest had before, such as the servers of other tests, are none of ours."""
    _others.update(psutil.Process().children())
    yield
    _others.clear()


@pytest.fixture
def births(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Births]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Births(tmp_path / "nursery.log")
    yield made
    made.close()
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # pytest adopts nobody else
    assert not children()


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while (found := look()) in (None, 0):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def unread(births: Births) -> int:
    """Bytes that a nursery has said and nobody has heard."""
    return int.from_bytes(fcntl.ioctl(births._line, termios.FIONREAD, bytes(4)), sys.byteorder)


def spec_of(folder: Path) -> bytes:
    return msgspec.msgpack.encode(WorkerSpec(
        operator="camera", replica=0, where="camlink.testing.toys:camera", kind="source", parameters={}, inputs=(),
        outputs=(), folder=str(folder), sockets=str(folder), provenance={}))


def ask(births: Births, folder: Path, where: str = "camlink.testing.toys:camera", said: bytes = b"") -> None:
    """Ask for a worker that waits for its master, unless it is told something else."""
    words = ("worker", f"ipc://{folder}/nobody", LINE)
    births.ask(Birth(LINE, words, where, mortal=True, log=str(folder / "camera.log"), environment={"CAMLINK_RUNS": "x"},
                     said=said or spec_of(folder)))


def test_a_worker_is_a_child_of_who_asked_and_its_end_is_told(births: Births, tmp_path: Path) -> None:
    ask(births, tmp_path)
    born = psutil.Process(until(lambda: births.pid(LINE)))
    assert born.ppid() == os.getpid()
    until(lambda: born.cmdline()[3:6] == ["worker", f"ipc://{tmp_path}/nobody", LINE] or None)
    until(lambda: str(tmp_path / "camera.log") in {file.path for file in born.open_files()} or None)
    assert births.stopped() == ()
    born.suspend()
    until(lambda: births.stopped() or None)
    births.kill(LINE)
    assert until(lambda: births.ended(LINE)) == -signal.SIGKILL
    assert births.ended(LINE) is None
    ask(births, tmp_path, said=b"\x01")
    assert until(lambda: births.ended(LINE)) == 1
    assert "ValidationError" in (tmp_path / "camera.log").read_text()


@pytest.mark.parametrize("code", [
    "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "kept = open(__file__)", "import os; os._exit(0)", "raise SystemExit", "1/0"])
def test_who_cannot_be_imported_ahead_is_born_nevertheless(births: Births, tmp_path: Path, code: str) -> None:
    (tmp_path / "odd.py").write_text(code)
    ask(births, tmp_path, "odd:camera")
    assert psutil.Process(until(lambda: births.pid(LINE))).num_threads() >= 1


def test_a_nursery_that_is_killed_or_stopped_is_replaced_and_nobody_ends_with_it(
        births: Births, tmp_path: Path) -> None:
    ask(births, tmp_path)
    first = until(lambda: births.pid(LINE))
    for how in (signal.SIGKILL, signal.SIGSTOP):
        (nursery,) = [child for child in children() if child.status() != psutil.STATUS_ZOMBIE
                      and "nursery" in child.cmdline() and child.pid != first]
        os.kill(nursery.pid, how)
        births.ask(Birth("x", ("worker", "inproc://x", "x"), mortal=True, said=b"\x01"))
        assert until(lambda: births.ended("x")) == 1
        assert births.pid(LINE) == first


def test_where_no_nursery_lives_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MODULE", "camlink.no_such_module")
    births = Births(tmp_path / "nursery.log")
    ask(births, tmp_path)
    assert until(lambda: births.ended(LINE)) == UNBORN
    assert "no_such_module" in (tmp_path / "nursery.log").read_text()
    births.close()


def test_several_threads_end_the_same_at_once(births: Births, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = signal.pidfd_send_signal

    def held_up(watched: int, number: signal.Signals) -> None:
        time.sleep(0.2)  # meanwhile another thread sees the end, and closes what it watched
        ended(watched, number)

    births.ask(Birth("x", ("worker", "inproc://x", "x"), mortal=True, said=b"\x01"))
    until(lambda: births.pid("x"))
    monkeypatch.setattr(signal, "pidfd_send_signal", held_up)
    with ThreadPoolExecutor(2) as pool:
        killing = pool.submit(births.kill, "x")
        pool.submit(births.wait, "x", 5).result()
        killing.result()
    assert births.ended("x") in (1, -signal.SIGKILL)


def test_who_was_born_before_a_nursery_was_stopped_is_not_born_again(births: Births, tmp_path: Path) -> None:
    names = ["x", "y", "z"]
    (nursery,) = children()
    for name in names:
        births.ask(Birth(name, ("worker", f"ipc://{tmp_path}/nobody", name), mortal=True, said=spec_of(tmp_path)))
    until(lambda: len(children()) == 1 + len(names) or None)
    born = sorted(child.pid for child in children() - {nursery})
    said = sum(len(msgspec.msgpack.encode(told)) for told in zip(names, born, strict=True))
    until(lambda: unread(births) == said or None)
    nursery.suspend()
    time.sleep(under_test.LOOK_S)
    pids = [until(lambda name=name: births.pid(name)) for name in names]
    assert {child.pid for child in children()} == {nursery.pid, *pids}


def test_who_ends_every_nursery_is_given_up_and_imports_that_succeed_do_not_hide_it(births: Births) -> None:
    births.ask(Birth("odd", where="camlink.testing.toys:camera"))
    births.ask(Birth(LINE, ("worker", "x" * MOST_BYTES)))  # more than a nursery takes in
    assert until(lambda: births.ended(LINE)) == UNBORN


def test_many_who_cannot_be_imported_ahead_do_not_count_as_one_that_ends_every_nursery(
        births: Births, tmp_path: Path) -> None:
    for number in range(MOST_DEATHS + 2):
        (tmp_path / f"odd{number}.py").write_text("import os; os._exit(0)")
        births.ask(Birth(f"odd{number}", where=f"odd{number}:camera"))
    ask(births, tmp_path)
    assert until(lambda: births.pid(LINE) or births.ended(LINE)) > 0


def test_the_end_does_not_wait_for_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow.py").write_text(f"open({str(tmp_path / 'began')!r}, 'w').close()\nimport time\ntime.sleep(60)")
    births = Births(tmp_path / "nursery.log")
    births.ask(Birth("slow", where="slow:camera"))
    until(lambda: (tmp_path / "began").exists() or None)
    waited: list[str] = []
    monkeypatch.setattr(births, "wait", lambda name, patience_s: waited.append(name))
    births.close()
    assert not waited


def test_where_no_other_nursery_can_be_started_it_is_said_and_all_else_ends(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    births = Births(tmp_path / "nursery.log")
    ask(births, tmp_path)
    first = psutil.Process(until(lambda: births.pid(LINE)))
    (nursery,) = [child for child in children() if child.pid != first.pid]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    nursery.kill()
    with pytest.raises(PeerLost, match="cannot start a process of this Python"):
        until(lambda: births.ended(LINE))
    births.close()
    assert not first.is_running()


def test_a_nursery_that_ends_while_nobody_runs_wakes_its_agent_once(births: Births) -> None:
    workers = Processes("inproc://x", births)
    (nursery,) = children()
    nursery.kill()
    assert select.select([workers.alarm], [], [], 20)[0]
    workers.reap()
    assert not select.select([workers.alarm], [], [], 0)[0]


def test_who_was_born_when_the_nursery_was_killed_and_could_not_tell_does_not_live(
        births: Births, tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(f"""
import os
from camlink.runtime import nursery
bear = nursery._bear
def bear_and_end():
    if pid := bear():
        open({str(tmp_path / "told")!r}, "w").write(str(pid))
        os.kill(os.getpid(), 9)
    return pid
nursery._bear = bear_and_end
""")
    ask(births, tmp_path, "killed:camera")
    second = until(lambda: births.pid(LINE))
    first = int((tmp_path / "told").read_text())
    assert first != second
    until(lambda: births.look() or not psutil.pid_exists(first) or None)
    assert births.pid(LINE) == second


def test_where_every_nursery_ends_at_once_no_more_are_started_until_somebody_is_asked_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    spawn = os.posix_spawn
    monkeypatch.setattr(os, "posix_spawn", lambda *a, **k: started.append(1) or spawn(*a, **k))
    monkeypatch.setattr(under_test, "MODULE", "camlink.no_such_module")
    births = Births(tmp_path / "nursery.log")
    until(lambda: births.look() or len(started) > MOST_DEATHS or None)
    end_s = time.monotonic() + 2
    while time.monotonic() < end_s:
        births.look()
        time.sleep(0.01)
    assert len(started) == MOST_DEATHS + 1
    monkeypatch.undo()
    births.ask(Birth("x", ("worker", "inproc://x", "x"), mortal=True, said=b"\x01"))
    assert until(lambda: births.ended("x")) == 1
    births.close()


def test_nobody_waits_for_ever_for_one_that_was_killed(births: Births, tmp_path: Path) -> None:
    ask(births, tmp_path)
    first = until(lambda: births.pid(LINE))
    (nursery,) = [child.pid for child in children() if child.pid != first]
    with held(nursery), held(first):
        os.kill(nursery, signal.SIGKILL)
        births.ask(Birth("x", ("worker", "inproc://x", "x"), mortal=True, said=b"\x01"))
        assert until(lambda: births.ended("x")) == 1
        births.kill(LINE)
        assert until(lambda: births.ended(LINE)) == LOST
    until(lambda: births.look() or not (psutil.pid_exists(first) or psutil.pid_exists(nursery)) or None)


def test_an_agent_that_could_not_be_started_says_what_the_nursery_said(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MODULE", "camlink.no_such_module")
    births = Births(tmp_path / "nursery.log", here=False)
    placer = LocalPlacer("here", tmp_path, tmp_path, births)
    placer.start("ipc://nobody")
    said = until(lambda: placer.lost() or None)
    assert "'here' could not be started: " in said
    assert "No module named camlink.no_such_module" in said
    assert str(tmp_path / "nursery.log") in said
    births.close()


def test_an_agent_that_stays_stopped_is_ended_and_a_short_stop_is_borne(tmp_path: Path) -> None:
    births = Births(tmp_path / "nursery.log", here=False)
    placer = LocalPlacer("here", tmp_path, tmp_path, births)
    placer.start(f"ipc://{tmp_path}/nobody")
    agent = psutil.Process(until(lambda: births.pid("here")))
    agent.suspend()
    until(lambda: placer.lost() or placer._stops == LOOKS - 1 or None)
    agent.resume()
    until(lambda: placer.lost() or not placer._stops or None)
    assert placer.lost() == ""
    agent.suspend()
    assert until(lambda: placer.lost() or None) == "the agent of site 'here' was stopped (SIGSTOP), and was ended"
    assert not agent.is_running()
    births.close()
