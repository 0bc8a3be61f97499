from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from camlink.errors import InputError
from camlink.runtime.place.job import QUEUED, JobSpec, read_left
from camlink.runtime.place.script import directives, script


def spec(folder: str = "/f", *argv: str, **more: Any) -> JobSpec:
    return JobSpec(argv=argv or ("run",), name="camlink-x", folder=Path(folder), output=Path(folder) / "o.txt", **more)


WANTED = {
    "slurm": {"nodes=2", "cpus-per-task=4", "gpus-per-task=1", "mem=2097152K", "time=90", "partition=q", "account=a",
              "exclusive", "export=NONE"},
    "pbs": {"N camlink-x", "l select=2:ncpus=4:mpiprocs=1:ngpus=1:mem=2097152kb", "l place=scatter:excl",
            "l walltime=1:30:00", "q q", "A a"},
    "pbs_classic": {"l nodes=2:ppn=4:gpus=1", "l mem=2097152kb", "n", "l walltime=1:30:00", "q q", "A a"},
    "lsf": {"J camlink-x", "n 8", 'R "span[ptile=4]"', 'gpu "num=1"', "M 2097152KB", "x", "W 1:30", "q q", "P a"}}


@pytest.mark.parametrize("system", [name for name in QUEUED if name != "facility"])
def test_every_need_is_asked_for_in_the_words_of_the_system(system: str) -> None:
    lines = directives(system, spec(nodes=2, cpus=4, gpus=1, memory_bytes=2 << 30, walltime_s=5400, queue="q",
                                    account="a", exclusive=True))
    assert {line.removeprefix("#SBATCH --").removeprefix("#PBS -").removeprefix("#BSUB -") for line in lines} >= WANTED[
        system]
    assert not any("gpu" in line for line in directives(system, spec()))


@pytest.mark.parametrize("system", [name for name in QUEUED if name != "facility"])
def test_words_stay_words_and_the_exit_code_is_kept(system: str) -> None:
    text = script(system, spec("/a b", "run", "$(id)", "it's", environment={"A": "`id`"}), "/kept here")
    assert "export A='`id`'" in text
    assert """run '$(id)' 'it'"'"'s' </dev/null >'/a b/o.txt' 2>'/a b/o.err'""" in text
    assert text.endswith("JOBID.ec\n" if system != "slurm" else "JOB_ID.ec\n")
    with pytest.raises(InputError, match="no line ends"):
        directives("slurm", spec("/a\n#SBATCH --uid=0"))


def test_what_slurm_says_of_time_is_read() -> None:
    assert [read_left(text) for text in ("1-02:03:04", "5:00", "UNLIMITED", "")] == [93784.0, 300.0, None, None]
