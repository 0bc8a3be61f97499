"""Batch: jobs through psij-python, which submits, asks and cancels; their scripts are ours."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from camlink.errors import InputError, PeerLost
from camlink.runtime.place.job import JobSpec, JobState, JobStatus
from camlink.runtime.place.script import script

WHY: Final = {
    "slurm": ("squeue", "--noheader", "--format=%r", "--jobs"), "lsf": ("bjobs", "-noheader", "-o", "pend_reason"),
    "pbs": ("qstat", "-f"), "pbs_classic": ("qstat", "-f")}
"""Commands that say why the job that comes after them waits."""
POLL_S: Final = 1
CALL_S: Final = 30.0
KILLED_S: Final = 1.0


class PsijSubmitter:
    """Jobs of one batch system; `folder` (mode 0700) holds their scripts and goes with `close`."""

    def __init__(self, system: str, folder: Path) -> None:
        logging.getLogger("psij").addHandler(logging.NullHandler())  # what it has to say comes with its exceptions
        try:
            import psij
            from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig
            from psij.executors.batch.slurm import SlurmExecutorConfig
        except ImportError:
            raise InputError("batch systems need psij-python: pip install 'camlink[sites]'") from None
        kind: Any = SlurmExecutorConfig if system == "slurm" else BatchSchedulerExecutorConfig
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.system, self._folder = system, folder
        self._psij: Any = psij
        self._executor: Any = psij.JobExecutor.get_instance(system, config=kind(
            work_directory=folder, queue_polling_interval=POLL_S, initial_queue_polling_delay=POLL_S))
        self._executor.generator = self
        self._specs: dict[str, JobSpec] = {}
        self._jobs: dict[str, Any] = {}
        self._cancelled: set[str] = set()

    async def submit(self, spec: JobSpec) -> str:
        """Hand a job over; raises PeerLost with what the batch system said."""
        job = self._job(spec)
        try:
            await asyncio.wait_for(asyncio.to_thread(self._executor.submit, job), CALL_S)
        except (self._psij.SubmitException, OSError, TimeoutError) as error:
            raise PeerLost(f"{self.system} did not take the job '{spec.name}': {_words(error)}") from None
        native = str(job.native_id)
        self._jobs[native] = job
        return native

    async def status(self, job: str) -> JobStatus:
        """Where the job is now."""
        status, states = self._jobs[job].status, self._psij.JobState
        text = str(status.message or "").strip().rpartition("\n")[2]  # of a traceback the exception
        if status.state in (states.NEW, states.QUEUED):
            return JobStatus(JobState.QUEUED, await self._reason(job) or text)
        known = {states.ACTIVE: JobState.RUNNING, states.COMPLETED: JobState.DONE, states.CANCELED: JobState.CANCELLED}
        if status.state.final and job in self._cancelled:
            return JobStatus(JobState.CANCELLED, "cancelled by us", status.exit_code)
        return JobStatus(known.get(status.state, JobState.FAILED), text, status.exit_code)

    async def cancel(self, job: str) -> None:
        """End a job: SIGTERM now, SIGKILL when the batch system says so."""
        known = self._jobs[job]
        if not known.status.state.final:
            self._cancelled.add(job)
            try:
                await asyncio.wait_for(asyncio.to_thread(known.cancel), CALL_S)
            except (self._psij.SubmitException, OSError, TimeoutError) as error:
                raise PeerLost(f"{self.system} did not cancel job {job}: {_words(error)}") from None

    async def close(self) -> None:
        """Forget the jobs and remove their scripts."""
        self._jobs.clear()
        self._executor.generator = None  # each other's last friends: its thread ends when nobody knows it
        await asyncio.to_thread(shutil.rmtree, self._folder, True)

    async def _reason(self, job: str) -> str:
        """Why a job waits, in the words of the batch system; psij tells only what was known when its state changed."""
        said = await _call(*WHY[self.system], job)
        if self.system.startswith("pbs"):  # facts in lines, long ones folded
            found = re.search(r"^ *comment = (.*)$", said.replace("\n\t", ""), re.MULTILINE)
            return found[1] if found else ""
        return said.removeprefix("None")

    def _job(self, spec: JobSpec) -> Any:
        made = self._psij.Job(self._psij.JobSpec(executable=spec.argv[0], attributes=self._psij.JobAttributes()))
        self._specs[made.id] = spec
        return made

    def generate_submit_script(self, job: Any, context: Any, out: IO[str]) -> None:
        """What psij asks of its generator; its own templates ask PBS and LSF for one core, and PBS for no GPU."""
        out.write(script(self.system, self._specs.pop(job.id), context["psij"]["script_dir"]))


async def _call(*argv: str) -> str:
    """What a command of the batch system says; nothing when it fails, is not there or does not answer."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    except OSError:
        return ""
    try:
        said, _ = await asyncio.wait_for(process.communicate(), CALL_S)
    except TimeoutError:
        process.kill()
        with suppress(TimeoutError):  # whose disk does not answer either
            await asyncio.wait_for(process.wait(), KILLED_S)
        return ""
    return said.decode("utf8", "replace").strip()


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
