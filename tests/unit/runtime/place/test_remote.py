"""The job of an agent that cannot be followed any more does not stay in the queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from camlink.carry.far.keys import Keys, make_keys
from camlink.errors import PeerLost
from camlink.runtime import run
from camlink.runtime.place import remote
from camlink.runtime.place.job import JobSpec, JobStatus, Submitter
from camlink.runtime.place.remote import RemotePlacer
from camlink.runtime.reach.dial import AGENT, MASTER
from camlink.testing.ends import until


class Silent:
    """A batch system that takes a job and then says nothing any more; and the place of it."""

    def __init__(self, folder: Path) -> None:
        self.done: list[str] = []
        self._folder = folder

    async def open(self, site: str, keys: Keys, port: int, relay: int) -> tuple[Submitter, JobSpec]:
        return self, JobSpec(argv=("agent",), name=site, folder=self._folder, output=self._folder / "out")

    async def lead(self, target: int | str, *, out: bool) -> int:
        return 0

    async def submit(self, spec: JobSpec) -> str:
        return "7"

    async def status(self, job: str) -> JobStatus:
        raise PeerLost("no answer")

    async def cancel(self, job: str) -> None:
        self.done.append(f"cancel {job}")

    async def close(self) -> None:
        self.done.append("close")


def test_a_job_whose_system_says_nothing_any_more_is_cancelled(tmp_path: Path) -> None:
    silent = Silent(tmp_path)
    placer = RemotePlacer("there", silent, "127.0.0.1", tmp_path, 0)
    keys = make_keys("run", {MASTER: [AGENT], AGENT: [MASTER]})
    asyncio.run(placer._live(keys[AGENT], 0))
    assert placer.lost() == "the agent of site 'there': no answer"
    assert silent.done == ["cancel 7", "close", "close"]  # of the submitter and of the place


class Far(Silent):
    """A place that nothing reaches for a long time."""

    async def open(self, site: str, keys: Keys, port: int, relay: int) -> tuple[Submitter, JobSpec]:
        self.done.append("open")
        try:
            await asyncio.sleep(600)
        finally:
            self.done.append("given up")
        raise AssertionError


def test_a_run_that_is_cancelled_waits_for_no_place_that_is_being_reached(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEAVE_S", 1.0)
    monkeypatch.setattr(remote, "END_S", 1.0)
    monkeypatch.setattr(remote, "LOOK_S", 0.02)
    far = Far(tmp_path)
    placer = RemotePlacer("there", far, "127.0.0.1", tmp_path, 0)
    placer.start(f"ipc://{tmp_path}/master")
    until(lambda: far.done == ["open"], "the place")
    assert placer.close()
    assert far.done == ["open", "given up", "close"]
    asked = far.lead("socket", out=True)
    assert placer._ask(asked, 7) == 7


def test_who_leaves_a_run_waits_until_its_jobs_are_ended() -> None:
    assert run.CLOSE_S > remote.LEAVE_S + remote.END_S
