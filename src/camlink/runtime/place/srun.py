"""Srun: agents as steps of the allocation that we run in ourselves (salloc, sbatch), spread over its nodes."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

from camlink.errors import PeerLost
from camlink.runtime.place.job import JobSpec, JobState, JobStatus
from camlink.settings import read_settings

END_S: Final = 10.0
SAID: Final = ".srun"
"""What srun itself says lies beside the output of its step."""


class SrunSubmitter:
    """Steps of this allocation (job.Submitter); the first agent of a site goes to its first node, and so on."""

    def __init__(self, agent: str) -> None:
        number = agent.partition(".")[2].partition(".")[0]
        self._number = int(number) - 1 if number.isdecimal() else 0
        self._steps: dict[str, Process] = {}
        self._outputs: dict[str, Path] = {}
        self._cancelled: set[str] = set()

    async def submit(self, spec: JobSpec) -> str:
        """Start a step; it waits for its turn where others have its cores."""
        settings = read_settings()
        words = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={spec.cpus}", "--exact",
                 f"--relative={self._number % settings.batch_nodes}", f"--job-name={spec.name}",
                 f"--chdir={spec.folder}", f"--output={spec.output}", f"--error={spec.output.with_suffix('.err')}",
                 f"--mem={spec.memory_bytes // 1024}K" if spec.memory_bytes else "--mem=0",  # 0: what the job has
                 *([f"--gpus-per-task={spec.gpus}"] if spec.gpus else [])]
        try:
            with spec.output.with_suffix(SAID).open("wb") as said:
                step = await asyncio.create_subprocess_exec("srun", *words, *spec.argv, stdin=DEVNULL, stdout=DEVNULL,
                                                            stderr=said, env={**os.environ, **spec.environment})
        except OSError as error:
            raise PeerLost(f"srun does not start: {error.strerror}; is Slurm on this node?") from None
        name = f"{settings.batch_job} (step by srun, process {step.pid})"
        self._steps[name], self._outputs[name] = step, spec.output
        return name

    async def status(self, job: str) -> JobStatus:
        """Where the step is now."""
        code, output = self._steps[job].returncode, self._outputs[job]
        if code is None and not output.exists():  # srun makes it when the step begins
            return JobStatus(JobState.QUEUED, "it waits for cores of this allocation; squeue --steps says who has them")
        if code is None:
            return JobStatus(JobState.RUNNING)
        if job in self._cancelled:
            return JobStatus(JobState.CANCELLED, "cancelled by us", code)
        if code == 0:
            return JobStatus(JobState.DONE, "srun ended with code 0", code)
        said = output.with_suffix(SAID).read_text(errors="replace").strip().rpartition("\n")[2]
        return JobStatus(JobState.FAILED, f"srun ended with code {code}: {said}".removesuffix(": "), code)

    async def cancel(self, job: str) -> None:
        """End a step: srun passes SIGTERM on; who does not end is killed with it."""
        step = self._steps[job]
        self._cancelled.add(job)
        for end in (step.terminate, step.kill):
            with suppress(ProcessLookupError):
                end()
            with suppress(TimeoutError):
                await asyncio.wait_for(step.wait(), END_S)
                return

    async def close(self) -> None:
        """Forget the steps."""
        self._steps.clear()
        self._outputs.clear()
