"""Run the demo with random SIGKILLs: python benchmarks/kills.py [--runs 20] [--json FILE].

The camera and its beamline are on one site, the rest on another. Each run loses `--kills` processes at random moments
while frames come: workers of the second site, its agent, or somebody who looks at the page. Printed: verdicts, frames
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
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil

SMALL: Final = {"beamline.points_y": 12, "beamline.points_x": 12, "beamline.rate_hz": 30}
AT_DETECTOR: Final = ("beamline", "camera")
WORKERS: Final = ("reduce", "stxm", "solve", "record")
VIEWER: Final = ("import sys; from websockets.sync.client import connect; "
                 "page = connect(sys.argv[1].replace('http', 'ws') + 'live', origin=sys.argv[1][:-1], max_size=None); "
                 "[None for _ in page]")


def main() -> None:
    """Run, kill, add up, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="processes that are killed in each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--whom", choices=(*WORKERS, "agent", "viewer"), help="kill only these")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--demo", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.demo:
        sys.exit(demo(asked.demo))
    whom = (asked.whom,) if asked.whom else (*WORKERS, "agent", "viewer")
    runs = []
    for number in range(asked.runs):
        run = one_run(random.Random(f"{asked.seed}/{number}"), asked.kills, whom)
        runs.append(run)
        print(f"run {number + 1}: {run['verdict']}, {run['lost']} lost, killed {', '.join(run['killed'])}; "
              f"{len(run['took_s'])} replaced, error {run['error_vs_truth']}, {run['wall_s']:.1f} s",
              *run["reasons"], sep="\n  ", flush=True)
        figures = sum_up(runs, asked.seed)
        if asked.json:  # after each run: what was seen is kept
            asked.json.write_text(json.dumps(figures, indent=1), encoding="utf8")
    print(json.dumps({key: value for key, value in figures.items() if key != "each"}, indent=1))
    sys.exit(figures["verdicts"] != {"complete": asked.runs} or figures["frames_lost"] > 0)


def sum_up(runs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The figures over all runs so far."""
    took = sorted(seconds for run in runs for seconds in run["took_s"])
    errors = [run["error_vs_truth"] for run in runs if run["error_vs_truth"] is not None]
    return {
        "runs": len(runs), "seed": seed, "verdicts": dict(Counter(run["verdict"] for run in runs)),
        "frames": sum(run["expected"] for run in runs), "frames_lost": sum(run["lost"] for run in runs),
        "killed": dict(Counter(name for run in runs for name in run["killed"])), "replaced": len(took),
        "recover_s": {"p50": statistics.median(took), "p99": took[min(int(0.99 * len(took)), len(took) - 1)],
                      "max": took[-1]} if took else {},
        "error_vs_truth": {"median": statistics.median(errors), "worst": max(errors)} if errors else {},
        "wall_s": round(sum(run["wall_s"] for run in runs), 1), "each": runs,
    }


def one_run(dice: random.Random, kills: int, whom: tuple[str, ...]) -> dict[str, Any]:
    """What came of a demo that lost some processes."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="camlink-kills-") as folder:
        run = subprocess.Popen([sys.executable, __file__, "--demo", folder], stdout=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, text=True)
        assert run.stdout is not None
        page = ""
        for line in run.stdout:
            if line.startswith("page"):
                page = line.split()[1]
            if line.startswith("step 3"):
                break
        viewer = look(page)
        killed = []
        for _ in range(kills):
            time.sleep(dice.uniform(0.2, 1.6))
            if name := kill_one(run.pid, viewer, dice, whom):
                killed.append(name)
                viewer = look(page) if viewer.poll() is not None else viewer
        output, _ = run.communicate(timeout=180)
        viewer.kill()
        viewer.wait()
        if not (report := Path(folder) / "report.json").exists():
            return {"verdict": "none", "reasons": output.splitlines()[-5:], "killed": killed, "took_s": [],
                    "expected": 0, "lost": 0, "error_vs_truth": None, "wall_s": time.monotonic() - begun_s}
        found = json.loads(report.read_bytes())
        frames = found["frames"]
        return {"verdict": found["verdict"], "reasons": found["reasons"], "killed": killed,
                "took_s": [r["took_s"] for r in found["restarts"] if r["took_s"] is not None],
                "expected": frames["expected"], "lost": frames["expected"] - frames["delivered"],
                "error_vs_truth": found["result"].get("error_vs_truth"), "wall_s": time.monotonic() - begun_s}


def demo(folder: Path) -> int:
    """The demo with a small scan, over two sites of this machine, with its page; in a process of its own."""
    from rich.console import Console

    from camlink.display.terminal.demo import demo_workflow, with_truth
    from camlink.display.terminal.session import Choices, present
    from camlink.workflow.graph import Site

    flow = demo_workflow("ptychography").with_values(SMALL)
    flow.sites["detector"] = Site("detector")
    for name in AT_DETECTOR:
        flow.nodes[name] = replace(flow.nodes[name], at="detector")
    choices = Choices(folder / "report.json", browser=False, leave=True, folder=folder / "run", port=0,
                      host="127.0.0.1")
    return present(flow, choices, Console(), with_truth)


def look(page: str) -> subprocess.Popen[bytes]:
    """Somebody who looks at the page, in a process that takes all that it sends."""
    return subprocess.Popen([sys.executable, "-c", VIEWER, page], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_one(master: int, viewer: subprocess.Popen[bytes], dice: random.Random, whom: tuple[str, ...]) -> str:
    """SIGKILL to one of those, if one is there; who it was."""
    there: dict[str, psutil.Process] = {"viewer": psutil.Process(viewer.pid)}
    for process in psutil.Process(master).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        name = words[5].partition("/")[0] if len(words) > 5 and words[3:4] == ["worker"] else ""
        if words[3:4] == ["agent"] and words[5].partition(".")[0] == "here":
            name = "agent"
        there[name] = process
    name = dice.choice(sorted(set(whom) & set(there)) or [""])
    if name:
        there[name].send_signal(signal.SIGKILL)
    return name


if __name__ == "__main__":
    main()
