"""Run the demo with random SIGKILLs: python benchmarks/kills.py [--runs 20] [--json FILE].

The camera and its beamline are on one site, the rest on another. Each run loses `--kills` processes at random moments
while frames come: workers of the second site, its agent, or somebody who looks at the page; with `--whom nursery` the
process that workers are forked from. Printed: verdicts, frames lost, and by role the time from a SIGKILL to the moment
at which all who were lost by it work again (with an agent all its workers), and until it was noticed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
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
    parser.add_argument("--whom", choices=(*WORKERS, "agent", "viewer", "nursery"), help="kill only these")
    parser.add_argument("--gap", type=float, nargs=2, default=(0.2, 1.6), help="between two kills [s]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--demo", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.demo:
        sys.exit(demo(asked.demo))
    whom = (asked.whom,) if asked.whom else (*WORKERS, "agent", "viewer")
    runs = []
    for number in range(asked.runs):
        run = one_run(random.Random(f"{asked.seed}/{number}"), asked.kills, whom, asked.gap)
        runs.append(run)
        print(f"run {number + 1}: {run['verdict']}, {run['lost']} lost, killed {', '.join(run['killed'])}; "
              f"at work again after {', '.join(str(round(told['recover_s'], 2)) for told in run['recovered'])} s, "
              f"error {run['error_vs_truth']}, {run['wall_s']:.1f} s, load {os.getloadavg()[0]:.1f}",
              *run["reasons"], sep="\n  ", flush=True)
        figures = sum_up(runs, asked.seed)
        if asked.json:  # after each run: what was seen is kept
            asked.json.write_text(json.dumps(figures, indent=1), encoding="utf8")
    print(json.dumps({key: value for key, value in figures.items() if key != "each"}, indent=1))
    sys.exit(figures["verdicts"] != {"complete": asked.runs} or figures["frames_lost"] > 0)


def sum_up(runs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The figures over all runs so far."""
    told = [kill for run in runs for kill in run["recovered"]]
    errors = [run["error_vs_truth"] for run in runs if run["error_vs_truth"] is not None]
    return {
        "runs": len(runs), "seed": seed, "verdicts": dict(Counter(run["verdict"] for run in runs)),
        "frames": sum(run["expected"] for run in runs), "frames_lost": sum(run["lost"] for run in runs),
        "killed": dict(Counter(name for run in runs for name in run["killed"])),
        "recover_s": {whom: _spread([kill["recover_s"] for kill in told if whom in ("all", kill["whom"])])
                      for whom in ("all", *sorted({kill["whom"] for kill in told}))},
        "notice_s": _spread([kill["notice_s"] for kill in told]),
        "error_vs_truth": {"median": statistics.median(errors), "worst": max(errors)} if errors else {},
        "wall_s": round(sum(run["wall_s"] for run in runs), 1), "each": runs,
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"count": len(ordered), "p50": round(statistics.median(ordered), 3),
            "p99": round(ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)], 3),
            "max": round(ordered[-1], 3)} if ordered else {}


def one_run(dice: random.Random, kills: int, whom: tuple[str, ...], gap: tuple[float, float]) -> dict[str, Any]:
    """What came of a demo that lost some processes."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="camlink-kills-") as folder, ExitStack() as stack:
        run = subprocess.Popen([sys.executable, __file__, "--demo", folder], stdout=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, text=True)
        stack.callback(end, run)
        assert run.stdout is not None
        page = ""
        for line in run.stdout:
            if line.startswith("page"):
                page = line.split()[1]
            if line.startswith("step 3"):
                break
        viewer = look(page, stack)
        killed: list[str] = []
        at_s: list[float] = []
        for _ in range(kills):
            time.sleep(dice.uniform(*gap))
            if name := kill_one(run.pid, viewer, dice, whom):
                killed.append(name)
                at_s.append(time.time())
                viewer = look(page, stack) if viewer.poll() is not None else viewer
        output, _ = run.communicate(timeout=180)
        if not (report := Path(folder) / "report.json").exists():
            return {"verdict": "none", "reasons": output.splitlines()[-5:], "killed": killed, "recovered": [],
                    "expected": 0, "lost": 0, "error_vs_truth": None, "wall_s": time.monotonic() - begun_s}
        found = json.loads(report.read_bytes())
        frames = found["frames"]
        return {"verdict": found["verdict"], "reasons": found["reasons"], "killed": killed,
                "recovered": [told for name, then_s in zip(killed, at_s, strict=True)
                              if (told := recovered(Path(folder) / "run", name, then_s))],
                "expected": frames["expected"], "lost": frames["expected"] - frames["delivered"],
                "error_vs_truth": found["result"].get("error_vs_truth"), "wall_s": time.monotonic() - begun_s}


def recovered(folder: Path, name: str, then_s: float) -> dict[str, Any]:
    """When those who were lost by a SIGKILL were missed, and when the last of them worked again; from the log."""
    from camlink.runtime.story import replay

    restarts = [moment.state.restarts for moment in replay(folder)][-1]
    lost = WORKERS if name == "agent" else (name,)
    later = [[r for r in restarts if r.operator == one and r.up_s > then_s] for one in lost]
    if not any(later):
        return {}
    return {"whom": name, "recover_s": max(found[0].up_s for found in later if found) - then_s,
            "notice_s": max(min(found[0].down_s for found in later if found) - then_s, 0.0)}


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


def look(page: str, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Somebody who looks at the page, in a process that takes all that it sends, and ends with `stack`."""
    viewer = subprocess.Popen([sys.executable, "-c", VIEWER, page], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(end, viewer)
    return viewer


def end(process: subprocess.Popen[Any]) -> None:
    """Leave nobody behind, however the run ended."""
    process.kill()
    process.wait()


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
        if words[3:4] == ["nursery"] and process.ppid() != master:
            name = "nursery"
        there[name] = process
    name = dice.choice(sorted(set(whom) & set(there)) or [""])
    try:
        if name:
            there[name].send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return ""
    return name


if __name__ == "__main__":
    main()
