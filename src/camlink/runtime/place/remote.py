"""RemotePlacer: an agent as a job of a submitter; it lands at an encrypted port of the run and ends with it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from camlink.carry.far.keys import LIFE_S, Keys, make_keys
from camlink.errors import CamlinkError, PeerLost
from camlink.runtime.events import Placing
from camlink.runtime.messages import Message
from camlink.runtime.place.job import JobSpec, JobState, JobStatus, Submitter
from camlink.runtime.reach.dial import AGENT, MASTER
from camlink.runtime.reach.landing import Landing

T = TypeVar("T")
LOOK_S: Final = 0.5
COME_S: Final = 120.0  # to import what it needs from a slow disk
LEAD_S: Final = 3.0
LEAVE_S: Final = 8.0
END_S: Final = 40.0


class Place(Protocol):
    """Where an agent is going to run, and what it takes to start it there."""

    async def open(self, site: str, keys: Keys, port: int, relay: int) -> tuple[Submitter, JobSpec]:
        """Reach the place, bring the key there, and give the job that dials `port` and the `relay` of ours."""
        ...

    async def lead(self, target: int | str, *, out: bool) -> int:
        """A port here that leads to a unix socket there (`out`), or one there to what is ours; 0 when nothing does."""
        ...

    async def close(self) -> None:
        """Leave nothing there."""
        ...


class RemotePlacer:
    """The agent of one site on another machine (master.Placer)."""

    def __init__(self, site: str, place: Place, host: str, folder: Path, relay: int, wait_s: float = math.inf,
                 life_s: float = LIFE_S) -> None:
        self._site, self._place, self._host, self._folder, self._relay = site, place, host, folder, relay
        self._wait_s, self._life_s = wait_s, life_s
        self.status = JobStatus(JobState.QUEUED, "not asked for yet")
        self._told = self._said = ""
        self._lost = ""
        self._closing = threading.Event()
        self._killing = False
        self._landing: Landing | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, master: str) -> None:
        """Open the port and ask for the job; returns at once."""
        keys = make_keys(self._folder.name, {MASTER: [AGENT], AGENT: [MASTER]}, self._life_s)
        self._landing = Landing(self._site, master, keys[MASTER], self._host)
        live = self._live(keys[AGENT], self._landing.port)
        self._thread = threading.Thread(target=lambda: asyncio.run(live), name=f"place {self._site}", daemon=True)
        self._thread.start()

    def lost(self) -> str:
        """Why the agent is gone, or nothing while it runs or waits for its turn."""
        return self._lost

    def news(self, *, last: bool = False) -> list[Message]:
        """What the place says of its job, when it says something else than before; who was turned away here."""
        news = self._landing.news(last=last) if self._landing is not None else []
        if self._said != self._told:
            self._told = self._said
            news.append(Placing(agent=self._site, text=self._told))
        return news

    def lead(self, target: int | str, *, out: bool) -> int:
        """A port here that leads to a unix socket there (`out`), or one there to what is ours; 0 when nothing does."""
        return self._ask(self._place.lead(target, out=out), 0)  # 0: then the link goes another way

    def _ask(self, asked: Coroutine[Any, Any, T], otherwise: T) -> T:
        loop = self._loop  # its thread may end at any moment
        if loop is None or loop.is_closed() or self._lost:
            asked.close()
            return otherwise
        answer = asyncio.run_coroutine_threadsafe(asked, loop)
        try:
            return answer.result(LEAD_S)
        except (CamlinkError, TimeoutError, CancelledError):
            answer.cancel()
            return otherwise

    def kill(self) -> None:
        """End its job."""
        self._killing = True
        self._closing.set()

    def close(self) -> bool:
        """Let the agent end by itself, then end its job, and leave nothing at its place."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(LEAVE_S + END_S)
        if self._landing is not None:
            self._landing.close()
            self._landing = None
        return self._thread is None or not self._thread.is_alive()

    async def _live(self, keys: Keys, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            submitter, spec = await self._opened(keys, port)
            try:
                await self._follow(submitter, await submitter.submit(spec))
            finally:
                await submitter.close()
        except CamlinkError as error:
            self._lost = f"the agent of site '{self._site}': {error}"
        except Exception as error:  # this thread has nobody above it
            self._lost = f"the agent of site '{self._site}': {type(error).__name__}: {error}"
        finally:
            self._loop = None
            await self._place.close()

    async def _opened(self, keys: Keys, port: int) -> tuple[Submitter, JobSpec]:
        """What the place gives; raises PeerLost when nobody waits for it any more, however far it is."""
        opening = asyncio.ensure_future(self._place.open(self._site, keys, port, self._relay))
        while not opening.done() and not self._closing.is_set():
            await asyncio.wait({opening}, timeout=LOOK_S)
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening}, timeout=LEAD_S)
            raise PeerLost("it was given up before its place was open")
        return opening.result()

    async def _follow(self, submitter: Submitter, job: str) -> None:
        try:
            late = await self._watch(submitter, job)
            if self.status.state.over:
                return
            await self._end(submitter, job)
            if late:
                self._lost = late
            elif self._killing:
                self._lost = f"the job {job} of the agent of site '{self._site}' was ended: it did not answer"
        except CamlinkError:
            with suppress(CamlinkError):
                await submitter.cancel(job)  # whom nobody follows must not wait for us in the queue
            raise

    async def _watch(self, submitter: Submitter, job: str) -> str:
        """Follow the job until it is over, we are asked to come to an end, or it is late: then says so."""
        asked_s, runs_s = time.monotonic(), 0.0
        while not self._closing.is_set():
            self.status = await submitter.status(job)
            runs_s = runs_s or (time.monotonic() if self.status.state is JobState.RUNNING else 0.0)
            if runs_s and time.monotonic() - runs_s > COME_S and self._landing is not None and not self._landing.met:
                self._killing = True
                return (f"the job {job} of site '{self._site}' runs, but its agent did not come in {COME_S:g} s: can "
                        f"its machine dial {self._landing.address}? What it said lies in its folder: agent*.err")
            why = f": {self.status.text}" if self.status.text else ""
            self._said = f"job {job} is {self.status.state}{why}"
            if self.status.state is JobState.QUEUED and time.monotonic() - asked_s > self._wait_s:
                self._killing = True
                return (f"the job {job} of the agent of site '{self._site}' did not begin in {self._wait_s:g} s{why}; "
                        "it was taken out of the queue: ask for less, another `queue`, or wait longer (`wait_s`)")
            if self.status.state.over:
                self._lost = f"the job {job} of the agent of site '{self._site}' is {self.status.state}: " \
                             f"{self.status.text or 'no reason given'}"
                break
            await asyncio.sleep(LOOK_S)
        return ""

    async def _end(self, submitter: Submitter, job: str) -> None:
        waits = self.status.state is JobState.QUEUED  # nobody is there who could end by himself
        for _ in range(0 if self._killing or waits else round(LEAVE_S / LOOK_S)):
            self.status = await submitter.status(job)
            if self.status.state.over:
                return
            await asyncio.sleep(LOOK_S)
        await submitter.cancel(job)
        for _ in range(round(END_S / 2 / LOOK_S)):
            self.status = await submitter.status(job)
            if self.status.state.over:
                return
            await asyncio.sleep(LOOK_S)
