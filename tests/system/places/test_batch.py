"""Jobs on a real Slurm: they run, fail, are cancelled and warned, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from camlink.errors import PeerLost
from camlink.runtime.place.batch import PsijSubmitter
from camlink.runtime.place.job import JobSpec, JobState, JobStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def spec(folder: Path, *argv: str, **more: Any) -> JobSpec:
    return JobSpec(argv=argv, name="camlink-test", folder=folder, output=folder / "out.txt", **more)


async def until(submitter: Any, job: str, true: Callable[[JobStatus], bool]) -> JobStatus:
    deadline = time.monotonic() + 60
    while not true(status := await submitter.status(job)):
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.1)
    return status


def over(status: JobStatus) -> bool:
    return status.state.over


@pytest.fixture
def submitter(slurm: Path, tmp_path: Path) -> PsijSubmitter:
    pytest.importorskip("psij", reason="psij-python is not installed: pip install -e '.[sites]'")
    return PsijSubmitter("slurm", tmp_path / "jobs")


def test_a_job_runs_with_its_arguments_and_leaves_no_files(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        words = ("a b", "$HOME", "it's", "`id`", "*")
        job = await submitter.submit(spec(tmp_path, sys.executable, "-c", "import sys, os; print(sys.argv[1:], "
                                          "os.environ['MINE'], 'SECRET' in os.environ)", *words,
                                          environment={"MINE": "x y"}))
        status = await until(submitter, job, over)
        assert (status.state, status.code) == (JobState.DONE, 0)
        assert (tmp_path / "out.txt").read_text().strip() == f"{list(words)!r} x y False"
        await submitter.close()

    asyncio.run(run())
    assert {path.name for path in tmp_path.iterdir()} == {"out.txt", "out.err"}


def test_a_job_has_the_gpus_cores_and_the_name_that_were_asked_for(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        job = await submitter.submit(spec(
            tmp_path, "sh", "-c", "squeue -ho '%j %C' --jobs $SLURM_JOB_ID; echo $CUDA_VISIBLE_DEVICES", gpus=1, cpus=2,
            environment={"SLURM_CONF": os.environ["SLURM_CONF"]}))
        assert (await until(submitter, job, over)).state is JobState.DONE
        assert (tmp_path / "out.txt").read_text() == "camlink-test 2\n0\n"

    asyncio.run(run())


def test_a_job_that_fails_says_its_code(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        job = await submitter.submit(spec(tmp_path, "sh", "-c", "exit 7"))
        status = await until(submitter, job, over)
        assert (status.state, status.code) == (JobState.FAILED, 7)

    asyncio.run(run())


def test_tasks_run_on_both_nodes(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        job = await submitter.submit(spec(tmp_path, "sh", "-c", "echo $SLURMD_NODENAME", nodes=2))
        await until(submitter, job, over)
        assert sorted((tmp_path / "out.txt").read_text().split()) == ["node1", "node2"]

    asyncio.run(run())


def test_a_job_is_cancelled_while_it_runs(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        job = await submitter.submit(spec(tmp_path, "sleep", "600", walltime_s=1200))
        await until(submitter, job, lambda status: status.state is JobState.RUNNING)
        await submitter.cancel(job)
        status = await until(submitter, job, over)
        assert status.state is JobState.CANCELLED
        await submitter.cancel(job)  # again: nothing happens

    asyncio.run(run())


def test_a_full_queue_is_said_and_a_waiting_job_can_be_cancelled(submitter: PsijSubmitter, tmp_path: Path) -> None:
    async def run() -> None:
        full = [await submitter.submit(spec(tmp_path, "sleep", "600", nodes=2, cpus=2)) for _ in range(2)]
        await until(submitter, full[0], lambda status: status.state is JobState.RUNNING)
        status = await until(submitter, full[1], lambda status: status.text in ("Resources", "Priority"))
        assert status.state is JobState.QUEUED
        for job in full[::-1]:
            await submitter.cancel(job)
            assert (await until(submitter, job, over)).state is JobState.CANCELLED

    asyncio.run(run())


def test_what_slurm_refuses_is_said(submitter: PsijSubmitter, tmp_path: Path) -> None:
    with pytest.raises(PeerLost, match="nowhere"):
        asyncio.run(submitter.submit(spec(tmp_path, "true", queue="nowhere")))
