"""Measure the ptychography solver of this machine: python benchmarks/ptychography.py [--case cpu-128] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

from camlink.compute.ptychography.bench import CASES, measure
from camlink.errors import InputError


def main() -> None:
    """Run the cases and print one line for each; what cannot run here says why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help=f"one of {', '.join(CASES)} (default all)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    asked = parser.parse_args()
    cases = []
    for name in asked.case or CASES:
        try:
            case = measure(name)
        except InputError as error:
            print(f"{name}: not measured: {error}")
            continue
        beside = ", ".join(f"{other} {value}" for other, value in case["beside"].items())
        print(f"{name}: {case['figure']} {case['unit']} (beside: {beside}), checked={case['checked']}; {case['note']}")
        cases.append(case)
    if asked.json:
        machine = {"cpus": os.cpu_count(), "processor": platform.machine(), "system": platform.platform()}
        asked.json.write_text(json.dumps({"machine": machine, "cases": cases}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
