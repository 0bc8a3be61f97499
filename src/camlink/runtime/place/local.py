"""Placer `local`: an agent process on this machine, and its workers as processes; none outlives the one above it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from camlink.runtime.messages import Exited, Message, WorkerSpec
from camlink.runtime.nursery import Birth
from camlink.runtime.place.births import LOST, UNBORN, Births
from camlink.runtime.work.hand import read_hand
from camlink.settings import read_settings
from camlink.signals import signal_name

END_S: Final = 3.0
LOOK_S: Final = 0.5
LOOKS: Final = 3
"""At so many looks an agent has to be found stopped: a short stop costs less than its end, and we may be away too."""
_TAIL_BYTES: Final = 2000


def _seeing(gpus: tuple[int, ...]) -> dict[str, str]:
    """The environment of a worker that has GPUs for it alone; one that asked for none sees what its agent sees."""
    seen = read_settings().visible_gpus
    return {"CUDA_VISIBLE_DEVICES": ",".join(seen[gpu] if seen else str(gpu) for gpu in gpus)} if gpus else {}


class LocalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a workflow says of a site of this machine: after `walltime_s` an agent is ended, as a batch job would be."""

    walltime_s: float = 0.0
    margin_s: float = 300.0
    listen: str = ""


class LocalPlacer:
    """Lets the run's nursery fork the agent of a site."""

    def __init__(self, site: str, sockets: Path, folder: Path, births: Births, walltime_s: float = 0.0) -> None:
        self._site, self._sockets, self._log = site, sockets, folder / f"agent-{site}.log"
        self._walltime_s, self._started_s, self._births = walltime_s, 0.0, births
        self._looked_s, self._stops = 0.0, 0

    def start(self, master: str) -> None:
        """Start the agent; it dials the master's address."""
        self._started_s = time.monotonic()
        words = ("agent", master, self._site, str(self._sockets), str(self._walltime_s), str(os.getpid()))
        self._births.ask(Birth(self._site, words, log=str(self._log)))

    def lost(self) -> str:
        """Why the agent is gone, or nothing while it runs."""
        if (code := self._births.ended(self._site)) is not None:
            if code == UNBORN:
                why = f"{_tail(self._births.log)} (more in {self._births.log})" if self._births.log is not None else ""
                return f"the agent of site '{self._site}' could not be started: {why}".removesuffix(": ")
            return f"the agent of site '{self._site}' is gone: {_tail(self._log)}".removesuffix(": ")
        if self._is_stopped():
            self.kill()
            self._births.wait(self._site, END_S)
            return f"the agent of site '{self._site}' was stopped (SIGSTOP), and was ended"
        if self._walltime_s and time.monotonic() - self._started_s > self._walltime_s:
            self.kill()
            self._births.wait(self._site, END_S)
            return f"the agent of site '{self._site}' was ended: its walltime of {self._walltime_s:g} s is over"
        return ""

    def _is_stopped(self) -> bool:
        if time.monotonic() - self._looked_s < LOOK_S:
            return False
        self._looked_s = time.monotonic()
        self._stops = self._stops + 1 if self._site in self._births.stopped() else 0
        return self._stops >= LOOKS

    def news(self, *, last: bool = False) -> list[Message]:
        """Nothing: it is there at once, and no port is open for it."""
        del last
        return []

    def kill(self) -> None:
        """End the agent now; the kernel ends its workers."""
        self._births.kill(self._site)

    def close(self) -> bool:
        """Wait for the agent to end by itself, then end it."""
        self._births.wait(self._site, END_S + 2)
        return True


class Processes:
    """Workers as processes; their output goes to `<operator>.log` in the folder of the run."""

    def __init__(self, address: str, births: Births) -> None:
        self._address, self._births = address, births
        self._running: dict[str, tuple[Path, WorkerSpec]] = {}

    @property
    def alarm(self) -> int:
        """Readable when a worker may have ended."""
        return self._births.alarm

    def start(self, spec: WorkerSpec) -> None:
        """Let a worker be born with its spec."""
        name = spec.operator + (f"-{spec.replica}" if spec.replica else "")
        path = Path(spec.folder) / "log" / f"{name}.log"
        path.parent.mkdir(exist_ok=True)
        self._births.ask(Birth(spec.line, ("worker", self._address, spec.line), spec.where, mortal=True, log=str(path),
                               environment=_seeing(spec.gpus), said=msgspec.msgpack.encode(spec)))
        self._running[spec.line] = path, spec

    @property
    def running(self) -> tuple[str, ...]:
        """Those that were not reaped yet."""
        return tuple(self._running)

    def kill(self, line: str) -> None:
        """SIGKILL: the grace period is over."""
        self._births.kill(line)

    def stopped(self) -> tuple[str, ...]:
        """Those that somebody has sent SIGSTOP."""
        return self._births.stopped()

    def reap(self) -> list[Exited]:
        """Those that ended since the last call, with the end of their log when they did not end well."""
        self._births.look()  # where nobody runs any more too: a nursery may have ended
        endings = []
        for line, (path, spec) in list(self._running.items()):
            code = self._births.ended(line)
            if code is not None:
                del self._running[line]
                text = "" if code == 0 else f"{_meaning(code)} {_tail(path)}".strip()
                endings.append(Exited(**spec.who, code=code, text=text, holding=read_hand(spec)))
        return endings

    def end_all(self) -> None:
        """Give the rest a moment, then SIGKILL."""
        for line in self._running:
            self._births.wait(line, END_S)
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for line in self._running:
            self._births.kill(line)
        self.end_all()
        self._births.close()


def _meaning(code: int) -> str:
    if code in (LOST, UNBORN):
        return "no process could be started for it:" if code == UNBORN else "nobody tells how it ended:"
    return f"killed by {signal_name(-code)}" if code < 0 else f"exit code {code}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode("utf8", "replace").strip()
    except OSError:
        return ""
    return text.rpartition("\n")[2]
