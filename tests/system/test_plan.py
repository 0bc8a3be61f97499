"""The forecast of a scan against the run of it: what must agree exactly does, the rest is written down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCAN = {"points_y": 12, "points_x": 12, "rate_hz": 40.0}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_goes_as_planned(tmp_path: Path) -> None:
    report, plan = tmp_path / "report.json", tmp_path / "plan.json"
    commands = (
        ["demo", "ptychography", "--no-browser", "--exit", "--folder", tmp_path / "run", "--report", report,
         *(f"--set=beamline.{name}={value}" for name, value in SCAN.items())],
        ["plan", *(f"--set=twin.{name}={value}" for name, value in SCAN.items()), "--against", report, "--json", plan])
    said = ""
    for words in commands:
        done = subprocess.run([sys.executable, "-m", "camlink", *map(str, words)], capture_output=True, text=True,
                              timeout=240, cwd=ROOT, stdin=subprocess.DEVNULL, check=True)
        said = done.stdout
    rows = {row["what"]: row for row in json.loads(plan.read_text())["against"]["deviations"]}
    sys.stdout.write(said)
    assert len(rows) == 8
    for exact in ("frames", "memory of the solver"):
        assert rows[exact]["measured"] == rows[exact]["predicted"], exact
    assert rows["half period"]["measured"] >= 0.9 * rows["half period"]["predicted"]
