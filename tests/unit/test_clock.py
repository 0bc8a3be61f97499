from __future__ import annotations

import subprocess
import sys
import time

import pytest

from camlink import clock


def test_the_time_is_that_of_the_wall_clock_at_first_and_does_not_follow_when_it_is_set(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(clock.now_s() - time.time()) < 60
    before_s = clock.now_s()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= clock.now_s() - before_s < 60


def test_a_process_that_was_told_the_origin_has_the_same_time() -> None:
    told = clock.origin_s() - 7200
    code = f"from camlink import clock; clock.keep_origin({told!r}); print(clock.now_s())"
    then_s = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 0 <= clock.now_s() - (then_s + 7200) < 60
