"""Placer `local`: an agent process on this machine, and its workers as processes; none outlives the one above it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import psutil

from camlink.clock import origin_s
from camlink.runtime.agent import Ending
from camlink.runtime.hand import read_hand
from camlink.runtime.messages import Message, WorkerSpec
from camlink.runtime.place.spare import ROOM, Spare
from camlink.settings import read_settings

END_S: Final = 3.0
_TAIL_BYTES: Final = 2000


def _command(role: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "camlink.runtime.process", role, *words, str(os.getpid()), repr(origin_s())]


def _environment() -> dict[str, str]:
    """One thread for the hidden pools of numerical libraries: the workers are the parallelism."""
    fixed = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = os.pathsep.join(p for p in sys.path if p)
    return {**fixed, **os.environ, "PYTHONPATH": paths}


def _seeing(gpus: tuple[int, ...]) -> dict[str, str] | None:
    """The environment of a worker that has GPUs for it alone; one that asked for none sees what its agent sees."""
    if not gpus:
        return None
    seen = read_settings().visible_gpus
    return {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(seen[gpu] if seen else str(gpu) for gpu in gpus)}


class LocalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a workflow says of a site of this machine: after `walltime_s` an agent is ended, as a batch job would be."""

    walltime_s: float = 0.0
    margin_s: float = 300.0
    listen: str = ""


class LocalPlacer:
    """Starts the agent of a site as a process of this machine."""

    def __init__(self, site: str, sockets: Path, folder: Path, walltime_s: float = 0.0) -> None:
        self._site, self._sockets, self._log = site, sockets, folder / f"agent-{site}.log"
        self._walltime_s, self._started_s = walltime_s, 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, master: str) -> None:
        """Start the agent; it dials the master's address."""
        self._started_s = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                _command("agent", master, self._site, str(self._sockets), str(self._walltime_s)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment())

    def lost(self) -> str:
        """Why the agent is gone, or nothing while it runs."""
        code = self._process.poll() if self._process else None
        if code is None and self._walltime_s and time.monotonic() - self._started_s > self._walltime_s:
            self.kill()
            return f"the agent of site '{self._site}' was ended: its walltime of {self._walltime_s:g} s is over"
        if code is None:
            return ""
        return f"the agent of site '{self._site}' ended with code {code}: {_tail(self._log)}".removesuffix(": ")

    def news(self, *, last: bool = False) -> list[Message]:
        """Nothing: it is there at once, and no port is open for it."""
        del last
        return []

    def kill(self) -> None:
        """End the agent now; the kernel ends its workers."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> bool:
        """Wait for the agent to end by itself, then end it."""
        if self._process is not None:
            _end(self._process, END_S + 2)
        return True


class Processes:
    """Workers as processes; their output goes to `<operator>.log` in the folder of the run."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path, WorkerSpec]] = {}
        self._spare = Spare(self._start_spare) if read_settings().spare else None

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker process and give it its spec by standard input."""
        name = spec.operator + (f"-{spec.replica}" if spec.replica else "")
        path = Path(spec.folder) / "log" / f"{name}.log"
        path.parent.mkdir(exist_ok=True)
        process = self._spare.take() if self._spare is not None and not spec.gpus else None
        if process is None:
            with path.open("ab") as log:
                process = subprocess.Popen(_command("worker", self._address, spec.line), stdin=subprocess.PIPE,
                                           stdout=log, stderr=log, env=_seeing(spec.gpus))
        if self._spare is not None:
            self._spare.know(spec.where.partition(":")[0])
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:  # one that is dead already is reaped
            pipe.write(msgspec.msgpack.encode((str(path), spec)))
        self._running[spec.line] = process, path, spec

    def _start_spare(self, modules: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(_command("spare", self._address, ",".join(modules), ROOM), stdin=subprocess.PIPE)

    def kill(self, line: str) -> None:
        """SIGKILL: the grace period is over."""
        if found := self._running.get(line):
            found[0].kill()

    def stopped(self) -> tuple[str, ...]:
        """Those that somebody has sent SIGSTOP."""
        return tuple(line for line, (process, _, _) in self._running.items() if _is_stopped(process.pid))

    def reap(self) -> list[Ending]:
        """Those that ended since the last call, with the end of their log when they did not end well."""
        endings = []
        if self._spare is not None:
            self._spare.tend()
        for line, (process, path, spec) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[line]
                text = "" if code == 0 else f"{_meaning(code)} {_tail(path)}".strip()
                endings.append(Ending(spec.operator, spec.replica, code, text, spec.attempt, read_hand(spec)))
        return endings

    def end_all(self) -> None:
        """Give the rest a moment, then SIGKILL."""
        if self._spare is not None:
            self._spare.close()
        for process, _, _ in self._running.values():
            _end(process, END_S)
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process, _, _ in self._running.values():
            process.kill()
        self.end_all()


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_stopped(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.Error:
        return False
    return status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


def _meaning(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _tail(path: Path) -> str:
    try:
        text = path.read_bytes()[-_TAIL_BYTES:].decode("utf8", "replace").strip()
    except OSError:
        return ""
    return text.rpartition("\n")[2]
