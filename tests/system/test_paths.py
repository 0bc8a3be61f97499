"""A real firewall on the direct way: the link goes by the relay, from the start or from there on, and loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def run(drop_at: int, side: str) -> list[str]:
    missing = [program for program in ("unshare", "nft", "ip") if not shutil.which(program)]
    if os.geteuid() or missing:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'} for a network of its own with a firewall")
    done = subprocess.run(["unshare", "--net", sys.executable, str(Path(__file__).parent / "firewalled.py"),
                           str(drop_at), side], capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


sides = pytest.mark.parametrize("side", ["outward", "inward"])


@sides
def test_a_dropped_way_is_passed_over(side: str) -> None:
    assert run(0, side) == ["begins by relay", "ends by relay", "whole True {} "]


@sides
def test_a_way_that_is_dropped_in_the_middle_is_left_for_another(side: str) -> None:
    begun = []
    while "begins by direct" not in begun:  # what is measured in a moment of noise may speak for the relay
        assert len(begun) < 4, begun
        begins, *rest = run(60, side)
        assert rest == ["ends by relay", "whole True {} "]
        begun.append(begins)
