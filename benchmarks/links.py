"""Links beside peers, in one run: python benchmarks/links.py [--peers .peers/bin/python] [--rounds 3] [--json FILE].

Job: frames of 1 MiB, a producer, a worker that sums, a collector that checks, each a process of its own; the sum only
or the whole frame goes on. In every round camlink by shared memory and by ZeroMQ, hand-written pyzmq chains and each
peer take their turn, so that all meet the same load; figures are medians over the rounds. `make peers` makes the
environment of the peers. What each peer lost, reordered or could not do stands in `peers` of the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from camlink.carry.bench.job import run
from camlink.carry.bench.task import Task
from camlink.display.terminal.bench import machine

PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS = {"pvapy": "pvapy_chain.py", "dranspose": "dranspose_chain.py", "libertem-live": "libertem_chain.py"}
OURS, FLOORS = ("shm", "zmq"), ("pyzmq ipc", "pyzmq tcp")
FRAMES, PEER_FRAMES = 4000, 2048
PEER_S = 180.0
OFFERED_PER_S, SLOWER, STEPS = 4000.0, 0.75, 7
"""pvapy drops what it cannot hold: it is offered this rate, and less until it loses nothing."""


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=Path, default=Path(".peers/bin/python"),
                        help="the Python that has the peers; what is not there is told")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cases = [case for whole in (False, True) for case in measure(asked.peers, asked.rounds, asked.frames, whole)]
    for case in cases:
        beside = ", ".join(f"{name} {rate:g} (x{case['ratio'][name]:g})" for name, rate in case["beside"].items())
        print(f"{case['case']}: {case['figure']:g} {case['unit']} beside {beside}\n  {case['note']}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "cases": cases}, indent=2), encoding="utf8")
    sys.exit(0 if all(case["checked"] for case in cases) else 1)


def measure(python: Path, rounds: int, frames: int, whole: bool) -> list[dict[str, Any]]:
    """The records of one job: ours by shared memory and by ZeroMQ, each beside everything else."""
    rates: dict[str, list[float]] = {}
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in SCRIPTS}
    notes: dict[str, list[str]] = {name: [] for name in OURS}
    right, loads = True, []
    for number in range(rounds):
        loads.append(round(os.getloadavg()[0], 1))
        print(f"{'whole frames' if whole else 'sums only'}, round {number + 1} of {rounds}", file=sys.stderr)
        for by in (*OURS, *FLOORS):
            outcome = run(Task(by=by, folder="", frames=frames, whole=whole))  # type: ignore[arg-type]
            rates.setdefault(by, []).append(outcome.frames_per_s)
            right = right and outcome.right == frames and not outcome.faults
            if by in OURS:
                notes[by].append(f"{outcome.frames_per_s:.0f} frames/s at p50 {outcome.ages_ms['p50']:g} ms, "
                                 f"p99 {outcome.ages_ms['p99']:g} ms")
        for name in SCRIPTS:
            found = lossless(python, whole) if name == "pvapy" else [chain(python, name, whole)]
            told[name] += found
            if "failed" not in found[-1] and not found[-1]["lost"]:
                rates.setdefault(name, []).append(found[-1]["frames_per_s"])
    medians = {name: statistics.median(found) for name, found in rates.items()}
    records = []
    for by in OURS:
        beside = {f"hand-written {name}" if name in FLOORS else name: round(rate)
                  for name, rate in medians.items() if name not in OURS}
        records.append({
            "case": f"{by}-{'whole' if whole else 'sum'}", "figure": round(medians[by]), "unit": "frames/s",
            "beside": beside, "ratio": {name: round(medians[by] / rate, 3) for name, rate in beside.items()},
            "checked": right, "load_1min": loads,
            "note": "; ".join(notes[by]) + f"; {frames} frames a run, none lost, every sum compared; "
            + "; ".join(f"{name}: {summary(found)}" for name, found in told.items()), "peers": told})
    return records


def summary(runs: list[dict[str, Any]]) -> str:
    """What the runs of a peer lost, in words."""
    failed = [found["failed"] for found in runs if "failed" in found]
    good = [found for found in runs if "failed" not in found]
    if not good:
        return failed[0]
    lost = [f"{found['lost']} of {found['sent']} at {found['frames_per_s']:.0f}/s" for found in good if found["lost"]]
    ages = statistics.median(found["ages_ms"]["p50"] for found in good)
    return (f"lost {', '.join(lost) if lost else 'nothing'}; age p50 {ages:.1f} ms; {good[-1]['note']}"
            + (f"; failed {len(failed)} times ({failed[0]})" if failed else ""))


def lossless(python: Path, whole: bool) -> list[dict[str, Any]]:
    """Runs of pvapy at falling rates, the last of which lost nothing when there is one."""
    runs = []
    for step in range(STEPS):
        runs.append(chain(python, "pvapy", whole, OFFERED_PER_S * SLOWER ** step))
        if "failed" in runs[-1] or not runs[-1]["lost"]:
            break
    return runs


def chain(python: Path, name: str, whole: bool, per_s: float = 0.0) -> dict[str, Any]:
    """One run of a peer; a record with `failed` when it is not there or gives no figures in bounded time."""
    command = [str(python), str(PEERS / SCRIPTS[name]), "--frames", str(PEER_FRAMES), "--per-s", str(per_s)]
    try:
        peer = subprocess.Popen([*command, "--whole"] if whole else command, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True)
    except FileNotFoundError:
        return {"peer": name, "failed": f"there is no {python}; `make peers` installs the peers"}
    try:
        out, said = peer.communicate(timeout=PEER_S)
    except subprocess.TimeoutExpired:
        os.killpg(peer.pid, signal.SIGKILL)  # with all that it has started
        peer.communicate()
        return {"peer": name, "failed": f"not over after {PEER_S:g} s"}
    lines = [line for line in out.splitlines() if line.startswith(b"{")]
    if not lines:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["without a word"]
        return {"peer": name, "failed": f"ended with code {peer.returncode}: {last[0][:200]}"}
    return msgspec.json.decode(lines[-1], type=dict[str, Any])


if __name__ == "__main__":
    main()
