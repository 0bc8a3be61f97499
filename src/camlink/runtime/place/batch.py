"""Batch: jobs through psij-python (Slurm first; pbs and lsf by the same calls); what it lacks comes from Slurm."""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from camlink.errors import InputError, PeerLost
from camlink.runtime.place.job import JobSpec, JobState, JobStatus, read_left

POLL_S: Final = 1
CALL_S: Final = 30.0
ENVIRONMENT: Final = {"PATH": os.defpath, "SLURM_EXPORT_ENV": "ALL"}  # else srun gives its tasks none of the job's
SYSTEMS: Final = ("slurm", "pbs", "lsf")


class PsijSubmitter:
    """Jobs of one batch system; `folder` (mode 0700) holds their scripts and goes with `close`."""

    def __init__(self, system: str, folder: Path) -> None:
        if system not in SYSTEMS:
            raise InputError(f"batch system '{system}' is not known (known: {', '.join(SYSTEMS)})")
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
        self._jobs: dict[str, Any] = {}

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
        text = str(status.message or "").strip()
        if status.state in (states.NEW, states.QUEUED):
            return JobStatus(JobState.QUEUED, text or await self._reason(job))
        known = {states.ACTIVE: JobState.RUNNING, states.COMPLETED: JobState.DONE, states.CANCELED: JobState.CANCELLED}
        return JobStatus(known.get(status.state, JobState.FAILED), text, status.exit_code)

    async def remaining_s(self, job: str) -> float | None:
        """Time left before the walltime ends [s]; only Slurm tells."""
        if self.system != "slurm":
            return None
        return read_left(await _call("squeue", "--noheader", "--format=%L", "--jobs", job))

    async def cancel(self, job: str) -> None:
        """End a job: SIGTERM now, SIGKILL when the batch system says so."""
        known = self._jobs[job]
        if not known.status.state.final:
            try:
                await asyncio.wait_for(asyncio.to_thread(known.cancel), CALL_S)
            except (self._psij.SubmitException, OSError, TimeoutError) as error:
                raise PeerLost(f"{self.system} did not cancel job {job}: {_words(error)}; look with squeue") from None

    async def close(self) -> None:
        """Forget the jobs and remove their scripts."""
        self._jobs.clear()
        await asyncio.to_thread(shutil.rmtree, self._folder, True)

    async def _reason(self, job: str) -> str:
        return await _call("squeue", "--noheader", "--format=%r", "--jobs", job) if self.system == "slurm" else ""

    def _job(self, spec: JobSpec) -> Any:
        psij = self._psij
        custom: dict[str, object] = {}
        if spec.warn_before_s and self.system == "slurm":
            custom["slurm.signal"] = f"USR1@{round(spec.warn_before_s)}"
        resources = psij.ResourceSpecV1(
            node_count=spec.nodes, processes_per_node=spec.tasks_per_node, cpu_cores_per_process=spec.cpus,
            gpu_cores_per_process=spec.gpus or None, memory=spec.memory_bytes or None)
        attributes = psij.JobAttributes(duration=timedelta(seconds=spec.walltime_s), queue_name=spec.queue or None,
                                        account=spec.account or None, custom_attributes=custom)
        return psij.Job(psij.JobSpec(
            executable=spec.argv[0], arguments=list(spec.argv[1:]), directory=spec.folder, name=spec.name,
            inherit_environment=False, environment={**ENVIRONMENT, **spec.environment}, stdout_path=spec.output,
            stderr_path=spec.output.with_suffix(".err"), resources=resources, attributes=attributes,
            launcher="srun" if self.system == "slurm" else "mpirun" if spec.nodes > 1 else "single"))


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
        await process.wait()
        return ""
    return said.decode("utf8", "replace").strip()


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
