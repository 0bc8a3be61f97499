#!/usr/bin/env python3
"""Stands in for qsub, qstat, qdel (PBS) and bsub, bjobs, bkill (LSF), whichever it is called: jobs really run, here.

Its folder STANDIN holds a file for each job: the state, and the exit code. While it holds `full` nobody begins.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STANDIN"])
NAME = Path(sys.argv[0]).name
MUST = {"qsub": (r"#PBS -N \w", r"#PBS -l (select|nodes)=1:", r"#PBS -l walltime=\d+:\d\d:\d\d$"),
        "bsub": (r"#BSUB -J \w", r"#BSUB -n \d+$", r"#BSUB -W \d+:\d\d$")}


def submit(script: Path) -> None:
    """Look at what the script asks for, and leave a process that waits for its turn and runs it."""
    for line in MUST[NAME]:
        if not re.search(line, script.read_text(), re.MULTILINE):
            sys.exit(f"{NAME}: no line like {line}")
    number = len(list(FOLDER.glob("*.asked"))) + 1
    job = f"{number}.standin" if NAME == "qsub" else str(number)
    (FOLDER / f"{number}.asked").write_text(script.read_text())
    if os.fork() == 0:
        os.setsid()
        for number in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        put(job, f"wait {os.getpid()}")
        while (FOLDER / "full").exists():
            time.sleep(0.05)
        put(job, f"run {os.getpid()}")
        known = {"PBS_JOBID": job, "LSB_JOBID": job, "PATH": os.defpath, "STANDIN": str(FOLDER)}
        code = subprocess.run(["/bin/bash", str(script)], env=known, stdin=subprocess.DEVNULL).returncode
        put(job, f"end {code}")
        os._exit(0)
    while not (FOLDER / f"{job}.job").exists():  # who has its number may ask for it
        time.sleep(0.01)
    print(job if NAME == "qsub" else f"Job <{job}> is submitted to default queue <normal>.")  # noqa: T201


def put(job: str, state: str) -> None:
    made = FOLDER / f"{job}.{os.getpid()}"  # who runs it and who ends it may write at once
    made.write_text(state)
    made.rename(FOLDER / f"{job}.job")


def tell(jobs: list[str]) -> None:
    """Each state in the words of PBS or LSF."""
    found = {job: (FOLDER / f"{job}.job").read_text().split() for job in jobs if (FOLDER / f"{job}.job").exists()}
    if NAME == "qstat":
        said = {"Jobs": {job: {"job_state": {"wait": "Q", "run": "R"}.get(state, "F"),
                               **({"Exit_status": int(rest)} if state == "end" else {})}
                         for job, (state, rest) in found.items()}}
    else:
        said = {"RECORDS": [{"JOBID": job, "STAT": {"wait": "PEND", "run": "RUN"}.get(
            state, "DONE" if rest == "0" else "EXIT"), "EXIT_REASON": "", "KILL_REASON": "", "SUSPEND_REASON": ""}
            for job, (state, rest) in found.items()]}
    print(json.dumps(said))  # noqa: T201


def end(job: str) -> None:
    """SIGTERM, a moment, SIGKILL, for the whole session of the job."""
    state, leader = (FOLDER / f"{job}.job").read_text().split()
    if state == "end":
        sys.exit(f"{NAME}: job {job} has already finished")
    put(job, "end 265")
    for number in (signal.SIGTERM, signal.SIGKILL):
        subprocess.run(["pkill", f"-{int(number)}", "--session", leader], check=False)
        time.sleep(1)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-") and word != "json" and " " not in word]
    if NAME in MUST:
        submit(Path(words[0]))
    elif sys.argv[1:-1] in (["-f"], ["-noheader", "-o", "pend_reason"]):
        print(f"Job Id: {words[-1]}\n    comment = there is no\n\t room" if NAME == "qstat" else "there is no room")  # noqa: T201
    elif NAME in ("qstat", "bjobs"):
        tell(words)
    else:
        end(words[0])
