"""Script: a job as the script that a batch system takes; every word of its command and environment is quoted."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any, Final

from camlink.errors import InputError
from camlink.runtime.place.job import JobSpec

ENVIRONMENT: Final = {"PATH": os.defpath, "SLURM_EXPORT_ENV": "ALL"}  # else srun gives its tasks none of the job's
JOB_ID: Final = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID", "pbs_classic": "PBS_JOBID", "lsf": "LSB_JOBID"}


def directives(system: str, spec: JobSpec) -> list[str]:
    """The lines that ask a batch system for what a job needs; of `pbs` (PBS Pro, OpenPBS), `pbs_classic` (TORQUE)."""
    head, asked = {"slurm": ("#SBATCH --", _slurm), "lsf": ("#BSUB -", _lsf)}.get(system, ("#PBS -", _pbs))
    lines = [f"{head}{word}" for word in asked(spec, classic=system == "pbs_classic") if word]
    if any("\n" in line for line in lines):
        raise InputError(f"job '{spec.name}': no line ends in folders and names, please")
    return lines


def script(system: str, spec: JobSpec, kept: str = "") -> str:
    """The whole script; the exit code goes to a file in the folder `kept`, and what went wrong before beside it.

    With nothing `kept` the batch system itself tells the code.
    """
    slurm = system == "slurm"
    known = {**(ENVIRONMENT if slurm else {}), **spec.environment}
    lines = ["#!/bin/bash", *directives(system, spec),
             *(f"export {name}={shlex.quote(value)}" for name, value in known.items()),
             f"cd {shlex.quote(str(spec.folder))} || exit 1"]
    launcher = ("srun", f"--cpus-per-task={spec.cpus}") if slurm else ("mpirun",) if spec.nodes > 1 else ()
    out, error = (shlex.quote(str(path)) for path in (spec.output, spec.output.with_suffix(".err")))
    command = f"{shlex.join((*launcher, *spec.argv))} </dev/null >{out} 2>{error}"
    if not kept:
        return "\n".join([*lines, f"exec {command}", ""])
    stem = f"{shlex.quote(kept)}/${JOB_ID[system]}"
    return "\n".join([*lines, f"exec &>>{stem}.out", command, f"echo $? >{stem}.ec", ""])


def _slurm(spec: JobSpec, **_: Any) -> Iterable[str]:
    asked = {"job-name": spec.name, "nodes": spec.nodes, "ntasks-per-node": 1,
             "cpus-per-task": spec.cpus, "time": max(1, round(spec.walltime_s / 60)), "chdir": str(spec.folder),
             "output": "/dev/null", "export": "NONE", "gpus-per-task": spec.gpus,
             "mem": f"{spec.memory_bytes // 1024}K" if spec.memory_bytes else "", "partition": spec.queue,
             "account": spec.account}
    yield from (f"{name}={shlex.quote(str(value))}" for name, value in asked.items() if value)
    yield "exclusive" if spec.exclusive else ""


def _pbs(spec: JobSpec, *, classic: bool) -> Iterable[str]:
    memory = f"{spec.memory_bytes // 1024}kb"
    yield f"N {spec.name}"
    if classic:
        yield f"l nodes={spec.nodes}:ppn={spec.cpus}" + (f":gpus={spec.gpus}" if spec.gpus else "")
        yield f"l mem={memory}" if spec.memory_bytes else ""
        yield "n" if spec.exclusive else ""
    else:
        yield (f"l select={spec.nodes}:ncpus={spec.cpus}:mpiprocs=1"
               + (f":ngpus={spec.gpus}" if spec.gpus else "") + (f":mem={memory}" if spec.memory_bytes else ""))
        yield f"l place=scatter{':excl' if spec.exclusive else ''}"
    yield f"l walltime={_clock(spec.walltime_s, seconds=True)}"
    yield f"q {spec.queue}" if spec.queue else ""
    yield f"A {spec.account}" if spec.account else ""
    yield from ("o /dev/null", "e /dev/null")


def _lsf(spec: JobSpec, **_: Any) -> Iterable[str]:
    yield f"J {spec.name}"
    yield f"n {spec.nodes * spec.cpus}"
    yield f'R "span[ptile={spec.cpus}]"'
    yield f'gpu "num={spec.gpus}"' if spec.gpus else ""
    yield f"M {spec.memory_bytes // 1024}KB" if spec.memory_bytes else ""
    yield "x" if spec.exclusive else ""
    yield f"W {_clock(spec.walltime_s, seconds=False)}"
    yield f"q {spec.queue}" if spec.queue else ""
    yield f"P {spec.account}" if spec.account else ""
    yield from ("o /dev/null", "e /dev/null")


def _clock(time_s: float, *, seconds: bool) -> str:
    minutes, rest = divmod(max(60, round(time_s)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}" + (f":{rest:02d}" if seconds else "")
