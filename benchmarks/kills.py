"""Run the demo with random SIGKILLs: python benchmarks/kills.py [--runs 20] [--json FILE].

Each run loses `--kills` workers that are no sources, at random moments while frames come. Printed: verdicts, frames
lost, and the time from the notice of a death to the first block of the replacement (median and 99th percentile).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

SOURCES = ("beamline", "camera")
SMALL = {"beamline.points_y": 14, "beamline.points_x": 14, "beamline.rate_hz": 20}


def main() -> None:
    """Run, kill, add up, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="workers that are killed in each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--whom", help="kill only workers of this operator")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    verdicts: Counter[str] = Counter()
    lost, took, errors, whom = 0, [], [], Counter[str]()
    for number in range(asked.runs):
        report = one_run(dice, asked.kills, asked.whom)
        verdicts[report["verdict"]] += 1
        frames = report["frames"]
        lost += frames["expected"] - frames["delivered"]
        took += [r["took_s"] for r in report["restarts"] if r["took_s"] is not None]
        whom.update(r["operator"] for r in report["restarts"])
        errors.append(report["result"].get("error_vs_truth") or float("nan"))
        print(f"run {number + 1}: {report['verdict']}, {frames['delivered']} of {frames['expected']} frames, "
              f"{len(report['restarts'])} replaced, error {errors[-1]}", *report["reasons"], sep="\n  ", flush=True)
    figures = {
        "runs": asked.runs, "verdicts": dict(verdicts), "frames_lost": lost, "replaced": dict(whom),
        "recover_s": {"p50": round(statistics.median(took), 3), "p99": round(quantile(took, 0.99), 3)} if took else {},
        "error_vs_truth": {"median": statistics.median(errors), "worst": max(errors)},
    }
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1), encoding="utf8")


def one_run(dice: random.Random, kills: int, whom: str | None) -> dict[str, Any]:
    """The report of a demo that lost some workers."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
        run = subprocess.Popen(
            [sys.executable, "-m", "camlink", "demo", "ptychography", "--no-browser", "--exit", "--folder",
             f"{folder}/run", "--report", str(report), *sets], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True)
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("step 3"):
                break
        for _ in range(kills):
            time.sleep(dice.uniform(0.3, 4.0))
            kill_one(run.pid, dice, whom)
        run.communicate(timeout=180)
        found: dict[str, Any] = json.loads(report.read_bytes())
        return found


def kill_one(master: int, dice: random.Random, whom: str | None) -> None:
    """SIGKILL to one worker below the master, if one is there."""
    workers = []
    for process in psutil.Process(master).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        name = words[5].partition("/")[0] if len(words) > 5 and words[3:4] == ["worker"] else ""
        if name and name not in SOURCES and whom in (None, name):
            workers.append(process)
    if workers:
        dice.choice(sorted(workers, key=lambda p: p.pid)).send_signal(signal.SIGKILL)


def quantile(values: list[float], part: float) -> float:
    """The value below which that part of all lies."""
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


if __name__ == "__main__":
    main()
