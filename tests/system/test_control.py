"""Runs that are steered while they run: through the page, its client and the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from camlink import connect
from camlink.display.client import LETTER
from camlink.display.live import Live
from camlink.display.web.ordering import actions_of
from camlink.display.web.server import PageServer
from camlink.errors import InputError
from camlink.runtime.events import Adjust, Pause
from camlink.runtime.run import open_run
from camlink.runtime.story import replay, tell
from camlink.testing import toys
from camlink.workflow.elastic import Elastic
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def at_rest(count: Callable[[], int]) -> int:
    """What it counts once that stays the same for a second; heartbeats may be late."""
    seen = [-1, count()]

    def same() -> bool:
        time.sleep(1)
        seen.append(count())
        return seen[-1] == seen[-2]

    until(same)
    return seen[-1]


def test_a_run_is_paused_changed_scaled_tagged_and_stopped_by_another_program(tmp_path: Path) -> None:
    flow = Workflow("toys", sites={"here": Site("here", "local")})
    counted = flow.add("count", toys.count, flow.add("camera", toys.camera, frames=5000, gap_s=0.01))
    flow.add("add", toys.add, counted)
    live = Live()
    with PageServer(live) as page, open_run(flow, folder=tmp_path, watch=live.put_status) as opened:
        page.actions |= actions_of(opened.order)
        page.leave_letter(tmp_path / "log" / LETTER)
        with connect(tmp_path) as client:
            def captured() -> int:
                status = client.status()
                return int(status.frames.get("captured", 0)) if status else 0

            until(lambda: captured() > 5)
            client.pause()
            until(lambda: client.status().paused)
            held = at_rest(captured)
            client.resume()
            until(lambda: captured() > held)
            client.set("count", sleep_s=0.02)
            client.scale("count", 2)
            until(lambda: client.status().operators[1].replicas == 2)
            client.tag("good alignment")
            client.stop()
        report = opened.wait(30)
        with connect(tmp_path) as client, pytest.raises(InputError, match="the run is over"):
            client.tag("too late")
    assert report.verdict == "degraded"
    assert report.reasons[0] == "stopped: stopped by command line on the page"
    assert report.operators["add"]["distinct"] == report.frames["delivered"] == report.frames["captured"]
    assert [order["type"] for order in report.orders] == ["Pause", "Pause", "Adjust", "Scale", "Tag"]
    assert {order["who"] for order in report.orders} == {"command line"}
    last = list(replay(tmp_path))[-1].state
    assert {w.spec.parameters["sleep_s"] for w in last.at("count")} == {0.02}
    story = "\n".join(tell(tmp_path))
    assert "command line paused the sources" in story
    assert "command line tagged the scan: good alignment" in story


def test_replicas_join_and_leave_by_load_and_nothing_is_lost(tmp_path: Path) -> None:
    flow = Workflow("toys", sites={"here": Site("here", "local")})
    counted = flow.add("count", toys.count, flow.add("camera", toys.camera, frames=1000, gap_s=0.005),
                       replicas=Elastic(1, 3, age_s=0.5, after_s=0.5, idle_s=0.3), sleep_s=0.02)
    flow.add("add", toys.add, counted)
    with open_run(flow, folder=tmp_path) as opened:
        def replicas() -> int:
            return opened.status.operators[1].replicas if opened.status else 0

        until(lambda: replicas() == 3)
        opened.order(Adjust(operator="count", parameters={"sleep_s": 0.0}))
        opened.order(Pause())
        until(lambda: replicas() == 1, 40)
        asked = [order["replicas"] for order in opened.status.orders if order["who"] == "load"]
        opened.order(Pause(paused=False))
        report = opened.wait(60)
    assert (report.verdict, report.reasons, report.restarts) == ("complete", (), ())
    assert (report.operators["add"]["distinct"], report.operators["add"]["total"]) == (1000, sum(range(1000)))
    assert (asked[:2], asked[-1]) == ([2, 3], 1)


def test_the_command_line_scales_a_run_by_its_folder(tmp_path: Path) -> None:
    flow = Workflow("toys", sites={"here": Site("here", "inline")})
    counted = flow.add("count", toys.count, flow.add("camera", toys.camera, frames=3000, gap_s=0.01))
    flow.add("add", toys.add, counted)
    with PageServer(Live()) as page, open_run(flow, folder=tmp_path) as opened:
        page.actions |= actions_of(opened.order)
        page.leave_letter(tmp_path / "log" / LETTER)
        until(lambda: opened.status is not None and opened.status.steps[3].state == "active")
        for operator, code, words in (("count", 0, "asked for 3"), ("add", 2, "has no replicas")):
            told = subprocess.run([sys.executable, "-m", "camlink", "scale", str(tmp_path), operator, "3"], check=False,
                                  capture_output=True, text=True, timeout=60)
            assert (told.returncode, words in told.stdout + told.stderr) == (code, True), told
        until(lambda: opened.status.operators[1].replicas == 3)
        opened.cancel()
        opened.wait(30)
