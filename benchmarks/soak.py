"""Soak: python benchmarks/soak.py [--minutes 10] [--json FILE] [--picture FILE.svg].

The sustainable rate is measured first; then frames come at 70 % of it for as long as asked, while a transform, the
solver or the writer is killed every few seconds. Each second the memory of all processes (PSS, so that shared pages
count once) and the disk of the run are noted. At the end every frame is looked for in what solver and writer made.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import steady

from camlink.display.chart import Axes, Line, chart
from camlink.display.terminal.bench import machine
from camlink.runtime.report import Report
from camlink.runtime.run import OpenRun, open_run
from camlink.runtime.status import RunStatus
from camlink.workflow.graph import Workflow

LONG = ("samples", "killed", "age_ms")
VICTIMS = ("reduce/0", "reduce/1", "solve/0", "keep/0")
MOST_A_MINUTE = 4  # five in a minute are what a worker is given up after


def main() -> None:
    """Measure, soak, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--part", type=float, default=0.7, help="of the sustainable rate")
    parser.add_argument("--kill-s", type=float, default=4.0, help="mean time between two kills; 0 for none")
    parser.add_argument("--together", type=int, default=16, help="frames in a block")
    parser.add_argument("--probe-s", type=float, default=15.0, help="for how long the sustainable rate is measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="an SVG of memory and rate over time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camlink-soak-") as folder:
        sustained_hz = sustainable_hz(Path(folder) / "probe", asked.probe_s, asked.together)
        rate_hz = asked.part * sustained_hz
        print(f"sustainable: {sustained_hz:.0f} frames/s; soak at {rate_hz:.0f} for {asked.minutes:g} min", flush=True)
        frames = int(rate_hz * 60 * asked.minutes)
        run = Path(folder) / "run"
        with open_run(flow(frames, asked.together, rate_hz=rate_hz), folder=run, watch=(last := Last())) as opened:
            samples, kills = watched(opened, last, random.Random(asked.seed), asked.kill_s, run,
                                     60 * asked.minutes + 180)
            report = opened.wait(1)
        found = figures(report, samples, kills, missing(run, frames))
    found = {"machine": machine(), "minutes": asked.minutes, "sustainable_hz": round(sustained_hz),
             "offered_hz": round(rate_hz), "frame_bytes": 2 * steady.SIDE_PX**2, "together": asked.together,
             "seed": asked.seed, **found}
    print(json.dumps({key: value for key, value in found.items() if key not in LONG}, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf8")
    if asked.picture:
        asked.picture.write_text(drawn(samples, kills), encoding="utf8")
    sys.exit(found["verdict"] != "complete" or found["frames"]["lost"] > 0 or any(found["frames"]["wrong"].values()))


def flow(frames: int, together: int, **pace: float) -> Workflow:
    """Camera -> reduce (two of them) -> solve, keep and a view that takes the newest."""
    made = Workflow("soak")
    camera = made.add("camera", steady.camera, frames=frames, together=together, **pace)
    reduce = made.add("reduce", steady.count, camera, replicas=2)
    solve = made.add("solve", steady.Solve, reduce)
    made.add("keep", steady.Keep, reduce)
    made.add("look", "view", camera, solve, policy="latest")
    return made


def sustainable_hz(folder: Path, seconds: float, together: int) -> float:
    """Frames that the whole chain takes a second when the camera does not wait: the median second, warm."""
    rates = []
    with open_run(flow(1 << 24, together, seconds=seconds), folder=folder, watch=(last := Last())) as opened:
        while not opened.over:
            time.sleep(0.25)
            rates.append((time.monotonic(), last.taken))
        opened.wait(60)
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(rates) if b[1] > a[1] > 0]
    return float(np.median(steps))


class Last:
    """The newest status of a run."""

    def __init__(self) -> None:
        self.status: RunStatus | None = None

    def __call__(self, status: RunStatus) -> None:
        """Keep it."""
        self.status = status

    @property
    def taken(self) -> int:
        """Frames that came to the writer and were acknowledged."""
        links = self.status.links if self.status else ()
        return sum(link.acknowledged for link in links if link.target == "keep")


def watched(opened: OpenRun, last: Last, dice: random.Random, kill_s: float, folder: Path,
            patience_s: float) -> tuple[list[dict[str, float]], list[tuple[float, str]]]:
    """Samples of every second, and who was killed when [s after the beginning], until the run is over."""
    begun_s = time.monotonic()
    samples: list[dict[str, float]] = []
    kills: list[tuple[float, str]] = []
    recent: deque[tuple[float, str]] = deque()
    next_kill_s = begun_s + 8.0
    while not opened.over and time.monotonic() - begun_s < patience_s:
        time.sleep(max(begun_s + len(samples) + 1 - time.monotonic(), 0.0))
        now_s = time.monotonic()
        if last.taken:
            samples.append({"at_s": now_s - begun_s, "taken": last.taken, **memory(), "disk_bytes": disk(folder)})
        else:
            begun_s = now_s
        flowing = last.status is not None and last.status.frames.get("captured", 0) > 0
        if kill_s and flowing and now_s > next_kill_s:
            next_kill_s = now_s + dice.expovariate(1 / kill_s)
            while recent and now_s - recent[0][0] > 60:
                recent.popleft()
            tired = Counter(whom for _, whom in recent)
            whom = dice.choice([v for v in VICTIMS if tired[v] < MOST_A_MINUTE] or [""])
            if whom and kill(whom):
                recent.append((now_s, whom))
                kills.append((now_s - begun_s, whom))
    return samples, kills


def processes() -> Iterator[tuple[psutil.Process, str]]:
    """The master, which is this process, and all below it, with what each is called."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        name = "master" if process == me else words[5].rpartition("/")[0] if words[3:4] == ["worker"] else "agent"
        yield process, name


def kill(whom: str) -> bool:
    """SIGKILL to the worker of that name, if it is there."""
    for process, name in processes():
        if name == whom:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                return False
            return True
    return False


def memory() -> dict[str, float]:
    """PSS of all processes together and of the master [bytes], and how many there are."""
    parts: Counter[str] = Counter()
    for process, name in processes():
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        parts[name] += 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return {"pss_bytes": sum(parts.values()), "master_bytes": parts["master"], "processes": len(parts)}


def disk(folder: Path) -> int:
    """Bytes of all files of the run that are really there."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue
    return total


def missing(folder: Path, frames: int) -> dict[str, int]:
    """Frames of which solver and writer know nothing, or something wrong."""
    wanted = (np.arange(frames) & 0xFFFF) + 1
    written = {name: np.fromfile(folder / f"{name}.book", np.float32) for name in ("solve", "keep")}
    return {name: int((found != wanted[:len(found)]).sum()) + frames - len(found) for name, found in written.items()}


def figures(report: Report, samples: list[dict[str, float]], kills: list[tuple[float, str]], wrong: dict[str, int]
            ) -> dict[str, Any]:
    """What is to be told of the soak."""
    warm = samples[min(60, len(samples) // 4):-3] or samples
    at_s, pss = (np.array([s[key] for s in warm]) for key in ("at_s", "pss_bytes"))
    slope = float(np.polyfit(at_s, pss, 1)[0]) * 60 if len(warm) > 2 else float("nan")
    took = [r["took_s"] for r in report.restarts if r["took_s"] is not None]
    rates = np.array([(b["taken"] - a["taken"]) / (b["at_s"] - a["at_s"]) for a, b in pairwise(warm)])
    return {
        "verdict": report.verdict, "reasons": report.reasons,
        "frames": {"offered": report.frames["captured"], "delivered": report.frames["delivered"],
                   "lost": report.frames["expected"] - report.frames["delivered"], "wrong": wrong,
                   "sent_again": sum(link["resent"] for link in report.links)},
        "kills": dict(Counter(whom for _, whom in kills)), "restarts": len(report.restarts),
        "recover_s": {"p50": round(float(np.quantile(took, 0.5)), 3), "p99": round(float(np.quantile(took, 0.99)), 3),
                      "max": max(took)} if took else {},
        "pss_MiB": {"first": round(pss[0] / 2**20, 1), "median": round(float(np.median(pss)) / 2**20, 1),
                    "peak": round(max(s["pss_bytes"] for s in samples) / 2**20, 1),
                    "slope_a_minute": round(slope / 2**20, 3)},
        "master_MiB": {"first": round(warm[0]["master_bytes"] / 2**20, 1),
                       "last": round(warm[-1]["master_bytes"] / 2**20, 1)},
        "disk_MiB": round(max(s["disk_bytes"] for s in samples) / 2**20, 1),
        "written_hz": {"median": round(float(np.median(rates)), 1), "least": round(float(rates.min()), 1)},
        "age_ms": {link["name"]: link["age_ms"] for link in report.links},
        "samples": samples, "killed": kills,
    }


def drawn(samples: list[dict[str, float]], kills: list[tuple[float, str]]) -> str:
    """Memory and rate over time, one above the other, with a dot where somebody was killed."""
    pss = Line("all processes", tuple((s["at_s"], s["pss_bytes"] / 2**20) for s in samples))
    master = Line("master", tuple((s["at_s"], s["master_bytes"] / 2**20) for s in samples))
    rate = Line("frames/s", tuple((b["at_s"], (b["taken"] - a["taken"]) / (b["at_s"] - a["at_s"]))
                                  for a, b in pairwise(samples)))
    killed = [Line(f"{whom} killed", ((at_s, 0.0),)) for at_s, whom in kills]  # a dot each
    parts = [chart([pss, master], Axes("time [s]", "PSS [MiB]: all, and the master", log=False)),
             chart([rate, *killed], Axes("time [s]", "frames/s to the writer; dots: a kill", log=False))]
    placed = "".join(part.replace("<svg ", f'<svg x="0" y="{310 * number}" width="560" height="300" ', 1)
                     for number, part in enumerate(parts))
    style = ("polyline{fill:none;stroke-width:1.5}line{stroke:#33414d}circle{fill:#f0776c}"
             "text{fill:#d5dde4;font:11px sans-serif}")
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 620" style="background:#10161c">'
            f"<style>{style}</style>{placed}</svg>")


if __name__ == "__main__":
    main()
