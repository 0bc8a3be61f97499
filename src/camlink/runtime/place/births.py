"""Births: processes that a nursery forks for us; when the nursery is gone another one takes its place."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import psutil

from camlink.clock import origin_s
from camlink.errors import PeerLost
from camlink.runtime.nursery import MODULE, MOST_BYTES, ROOM, Birth, adopt

PATIENCE_S: Final = 30.0
LOOK_S: Final = 1.0
MOST_DEATHS: Final = 3  # one after the other, nobody was born, and no import was the reason
LOST: Final = -256
"""Code of a process of which nobody tells how it ended."""
UNBORN: Final = -257
"""Code of one that could not be started."""


class Births:
    """Processes by name: asked for, born, ended.

    With `here` they are children of this process; else of the nursery itself, which tells no codes and which they
    outlive. `born` is the line and the process id of a nursery that was forked already. `alarm` is a file descriptor
    that is readable when there is something to look at.
    """

    def __init__(self, log: Path | None = None, *, here: bool = True, born: tuple[socket.socket, int] | None = None,
                 ) -> None:
        self.log, self._here = log, here
        if here:
            adopt()
        self._epoll = select.epoll()
        self._asked: dict[str, Birth] = {}
        self._unsaid: dict[str, int] = {}
        self._running: dict[str, tuple[int, int]] = {}
        self._ended: dict[str, int] = {}
        self._doomed: set[str] = set()
        self._plain: set[str] = set()
        self._known: dict[str, None] = {}
        self._deaths = 0
        self._heard_s = self._looked_s = time.monotonic()
        self._stranger = 0
        self._lock = threading.RLock()  # the placers of several sites are closed at once
        self._line, self._pid = born or self._spawn()
        self._open()

    @property
    def alarm(self) -> int:
        """Readable when somebody was born or has ended."""
        return self._epoll.fileno()

    def ask(self, birth: Birth) -> None:
        """Ask for a process; a Birth without words lets the nursery import something."""
        with self._lock:
            if birth.where:
                self._known[birth.where] = None
            if self._line.fileno() < 0:
                self._begin()
            if not self._asked:
                self._heard_s = time.monotonic()
            self._asked[birth.name] = msgspec.structs.replace(birth, plain=birth.plain or birth.where in self._plain)
            self._send(self._asked[birth.name])

    def look(self) -> None:
        """See who was born and who has ended, so that the alarm ends; it is looked for in `ended` and `pid` too."""
        with self._lock:
            self._see()

    def ended(self, name: str) -> int | None:
        """The code with which a process ended (negative: the signal), told once; None while it runs."""
        self.look()
        return self._ended.pop(name, None)

    def pid(self, name: str) -> int:
        """The process of this name; 0 when there is none."""
        self.look()
        return self._running.get(name, (0, -1))[0]

    def kill(self, name: str) -> None:
        """SIGKILL, or as soon as it is born."""
        with self._lock:
            if name in self._running:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._running[name][1], signal.SIGKILL)
            elif name in self._asked:
                self._doomed.add(name)

    def stopped(self) -> tuple[str, ...]:
        """Those that somebody has sent SIGSTOP."""
        return tuple(name for name, (pid, _) in self._running.items() if _is_stopped(pid))

    def wait(self, name: str, patience_s: float) -> None:
        """Give a process time to end by itself, then SIGKILL and see that it is gone."""
        deadline_s = time.monotonic() + patience_s
        while self._is_awaited(name):
            left_s = deadline_s - time.monotonic()
            if left_s < 0:
                self.kill(name)
            if left_s < -patience_s:
                return
            self._epoll.poll(0.05)

    def close(self) -> None:
        """End the nursery, and what still runs."""
        for name in (*self._running, *(name for name, birth in self._asked.items() if birth.words)):
            self.kill(name)
            self.wait(name, LOOK_S)
        self._end_nursery()
        self._epoll.close()

    def _is_awaited(self, name: str) -> bool:
        with self._lock:
            self._see()
            return name in self._running or name in self._asked

    def _see(self) -> None:
        """Hear who was born, see who has ended, and start another nursery when it is gone."""
        ready = {file for file, _ in self._epoll.poll(0)}
        gone = self._line.fileno() in ready and not self._hear()
        for name, (pid, watched) in list(self._running.items()):
            if watched in ready:
                self._epoll.unregister(watched)
                os.close(watched)
                del self._running[name]
                self._ended[name] = _code(pid)
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_S:
            self._looked_s = now_s
            self._reap_stranger()
            gone = gone or (bool(self._asked) and (_is_stopped(self._pid) or now_s - self._heard_s > PATIENCE_S))
        if gone:
            self._start_again()

    def _hear(self) -> bool:
        """Take in all answers; False when the nursery is gone."""
        while True:
            try:
                said = self._line.recv(MOST_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not said:
                return False
            name, pid = msgspec.msgpack.decode(said, type=tuple[str, int])
            self._heard_s = time.monotonic()
            birth = self._asked.pop(name, None)
            if birth is not None and birth.words:
                self._born(name, pid)
                go = self._unsaid.pop(name)
                with suppress(BrokenPipeError):  # it was killed before
                    os.write(go, b"!")
                os.close(go)

    def _born(self, name: str, pid: int) -> None:
        doomed = name in self._doomed
        self._doomed.discard(name)
        try:
            watched = os.pidfd_open(pid) if pid > 0 else -1
        except ProcessLookupError:
            watched = -1
        if watched < 0:
            self._ended[name] = UNBORN
            return
        self._deaths = 0
        self._epoll.register(watched, select.EPOLLIN)
        self._running[name] = pid, watched
        if doomed:
            self.kill(name)

    def _start_again(self) -> None:
        """Another nursery; what the lost one worked on when it ended is not imported there a second time.

        After MOST_DEATHS there is none until somebody is asked for.
        """
        self._end_nursery()
        first = next(iter(self._asked.values()), None)
        if first is not None and first.where and first.where not in self._plain:
            self._plain.add(first.where)
        else:
            self._deaths += 1
        asked = [birth for birth in self._asked.values() if birth.words and birth.name not in self._doomed]
        for birth in self._asked.values():
            if birth.words and (birth.name in self._doomed or self._deaths > MOST_DEATHS):
                self._ended[birth.name] = UNBORN
        self._asked, self._doomed = {}, set()
        if self._deaths <= MOST_DEATHS:
            self._begin()
            for birth in asked:
                self.ask(birth)

    def _begin(self) -> None:
        """Start a nursery that knows what those before it knew."""
        self._line, self._pid = self._spawn()
        self._open()
        for where in self._known:
            if where not in self._plain:
                self.ask(Birth(where, where=where))

    def _spawn(self) -> tuple[socket.socket, int]:
        """Start a nursery with an interpreter of its own."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.set_inheritable(True)
        words = [sys.executable, "-m", MODULE, "nursery", str(os.getpid()), str(theirs.fileno()),
                 "ours" if self._here else "its own", repr(origin_s()), ROOM]
        actions: list[tuple[int, int, str, int, int]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        if self.log is not None:
            actions += [(os.POSIX_SPAWN_OPEN, 1 + error, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                        for error in (False, True)]
        try:
            with theirs:
                pid = os.posix_spawn(sys.executable, words, _environment(), file_actions=actions, setsid=not self._here)
        except OSError as error:
            ours.close()
            raise PeerLost(f"cannot start a process of this Python ({sys.executable}): {error.strerror}; look at the "
                           "limits of processes and memory") from None
        return ours, pid

    def _open(self) -> None:
        self._line.setblocking(False)
        self._epoll.register(self._line.fileno(), select.EPOLLIN)

    def _send(self, birth: Birth) -> None:
        """Hand over a birth; a nursery that does not take it is looked after at the next look."""
        files = [os.memfd_create("birth")]
        if birth.words:
            waits, self._unsaid[birth.name] = os.pipe()
            files.append(waits)
        with os.fdopen(files[0], "wb", closefd=False) as said:
            said.write(birth.said)
            said.flush()
            said.seek(0)
        with suppress(OSError):
            socket.send_fds(self._line, [msgspec.msgpack.encode(msgspec.structs.replace(birth, said=b""))], files)
        for file in files:
            os.close(file)

    def _end_nursery(self) -> None:
        if self._line.fileno() < 0:
            return  # no other one could be started
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _code(self._pid, LOOK_S)
        self._hear()  # whom it bore before must not be born again
        while self._unsaid:  # nor live, when we were not told
            os.close(self._unsaid.popitem()[1])
        self._epoll.unregister(self._line.fileno())
        self._line.close()

    def _reap_stranger(self) -> None:
        """Whom we adopted without knowing (the child of a worker that was killed) is buried at the second look."""
        with suppress(ChildProcessError):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) if self._here else None
            dead = found.si_pid if found is not None else 0
            if dead and dead == self._stranger:
                os.waitpid(dead, 0)
            self._stranger = dead


def _environment() -> dict[str, str]:
    """One thread for the hidden pools of numerical libraries: the workers are the parallelism."""
    fixed = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = os.pathsep.join(p for p in sys.path if p)
    return {**fixed, **os.environ, "PYTHONPATH": paths}


def _code(pid: int, patience_s: float = 0.0) -> int:
    """How a process ended; LOST when it is no child of ours, or nobody tells in time.

    That happens when it waits for a disk, so that SIGKILL has to wait too, or when somebody else traces it.
    """
    deadline_s = time.monotonic() + patience_s
    try:
        while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < deadline_s:
            time.sleep(0.001)
    except ChildProcessError:
        return LOST
    return os.waitstatus_to_exitcode(ended[1]) if ended[0] else LOST


def _is_stopped(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.Error:
        return False
    return status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
