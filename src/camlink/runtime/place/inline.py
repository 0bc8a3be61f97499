"""Placer `inline`: an agent and its workers as threads of this process; links between them are in memory."""

from __future__ import annotations

import threading
import time

from camlink.runtime.agent import Agent
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import Exited, Message, WorkerSpec
from camlink.runtime.place.local import END_S
from camlink.runtime.work.host import Host
from camlink.runtime.work.worker import Worker
from camlink.settings import read_settings


class InlinePlacer:
    """Runs the agent of a site in a thread."""

    def __init__(self, site: str, host: Host) -> None:
        self._site, self._host = site, host
        self._thread: threading.Thread | None = None
        self._workers = Threads(host)

    def start(self, master: str) -> None:
        """Start the agent's thread; it dials the master's address."""
        agent = Agent(self._site, self._host.context, master, self._host.control, self._workers,
                      take_inventory(read_settings().sockets))
        self._thread = threading.Thread(target=agent.run, name=f"agent {self._site}", daemon=True)
        self._thread.start()

    def lost(self) -> str:
        """Why the agent is gone, or nothing while it runs."""
        gone = self._thread is not None and not self._thread.is_alive()
        return f"the agent thread of site '{self._site}' has ended" if gone else ""

    def news(self, *, last: bool = False) -> list[Message]:
        """Nothing: it is there at once, and no port is open for it."""
        del last
        return []

    def kill(self) -> None:
        """A thread cannot be killed."""

    def close(self) -> bool:
        """Wait for the agent and its workers to end by themselves; a thread that does not cannot be ended."""
        if self._thread is not None:
            self._thread.join(END_S + 2)
        return not self._workers.left and not (self._thread and self._thread.is_alive())


class Threads:
    """Workers as threads; a thread cannot be killed, it is asked and then left behind."""

    alarm = -1

    def __init__(self, host: Host) -> None:
        self._host = host
        self.left: list[str] = []
        self._running: dict[str, tuple[threading.Thread, WorkerSpec]] = {}

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker thread."""
        thread = threading.Thread(target=lambda: Worker(spec, self._host).run(), name=spec.operator, daemon=True)
        self._running[spec.line] = thread, spec
        thread.start()

    @property
    def running(self) -> tuple[str, ...]:
        """Those that were not reaped yet."""
        return tuple(self._running)

    def kill(self, line: str) -> None:
        """A thread cannot be killed; the master's Kill reaches the worker by its own line."""

    def stopped(self) -> tuple[str, ...]:
        """A thread cannot be stopped either."""
        return ()

    def reap(self) -> list[Exited]:
        """Those that ended since the last call."""
        ended = [spec for thread, spec in self._running.values() if not thread.is_alive()]
        for spec in ended:
            del self._running[spec.line]
        return [Exited(**spec.who, code=0) for spec in ended]

    def end_all(self) -> None:
        """Wait for all threads, in bounded time."""
        deadline = time.monotonic() + END_S
        for thread, _ in self._running.values():
            thread.join(max(deadline - time.monotonic(), 0))
        self.left = [thread.name for thread, _ in self._running.values() if thread.is_alive()]
        self._running.clear()
