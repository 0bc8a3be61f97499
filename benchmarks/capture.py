"""Measure the FastCCD capture of this machine: python benchmarks/capture.py [--seconds 3] [--json FILE]."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from camlink.capture.fastccd.bench import measure
from camlink.display.terminal.bench import machine


def main() -> None:
    """Run every detector and payload size of the field and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run at 240 MB/s [s]")
    parser.add_argument("--detector", action="append", help="geometry: window, cosmic, full (default cosmic)")
    parser.add_argument("--payload-bytes", type=int, action="append", help="payload of a packet (default 4096, 8184)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    asked = parser.parse_args()
    cases = []
    for detector in asked.detector or ["cosmic"]:
        for payload in asked.payload_bytes or [4096, 8184]:
            case = measure(detector=detector, seconds=asked.seconds, payload_bytes=payload)
            print(f"{detector} {payload} B: {case['figure']} {case['unit']}, checked={case['checked']}; {case['note']}")
            cases.append(case)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "cases": cases}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
