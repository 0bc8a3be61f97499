"""camlink serve: runs are started, seen, steered and found again by one port, in a real browser and from Python."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from camlink import connect
from camlink.display.client import Client
from camlink.display.desk.records import Run
from camlink.errors import CamlinkError, InputError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"
FLOW = """# Frames that are counted, for as long as you like.
workflow: toys
sites:
  here: {placer: inline}
operators:
  camera: {use: "camlink.testing.toys:camera", frames: 100000, gap_s: 0.01}
  count: {use: "camlink.testing.toys:count", from: camera}
  look: {use: "camlink.testing.toys:look", from: count, policy: latest}
"""


def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except CamlinkError:
            pass  # it is not up yet, or not down
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def the_run(desk: Client, state: str) -> Run:
    """The only run of a desk, once it is in that state; one whose page takes its time to answer counts as silent."""
    seen: list[Run] = []
    until(lambda: seen.extend(desk.runs()) or seen[-1].state == state)
    assert {run.name for run in seen} == {seen[-1].name}
    return seen[-1]


@contextmanager
def serve(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A desk as a process of its own, and the address that lets in its owner."""
    desk = subprocess.Popen([sys.executable, "-m", "camlink", "serve", "flows", "--no-browser", "--most", "1"],
                            stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        assert desk.stdout is not None
        words = [desk.stdout.readline().split() for _ in range(2)]
        assert words[1][0] == "owner"
        yield desk, words[1][1]
    finally:
        desk.kill()
        desk.wait()
        desk.stdout.close()


def test_runs_are_started_steered_and_found_again_by_one_port(tmp_path: Path, browser: Any,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMLINK_RUNS", raising=False)
    runs = tmp_path / "camlink-runs"
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/toys.yaml").write_text(FLOW)
    with serve(tmp_path) as (desk, owner):
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        problems: list[str] = []
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{owner}&who=Anna")
        page.get_by_test_id("workflow-toys.yaml").click()
        page.get_by_test_id("part-camera").click()
        page.get_by_test_id("set-camera.gap_s").fill("-1")
        page.get_by_test_id("start").click()
        page.get_by_test_id("refused").get_by_text("camera.gap_s = -1").wait_for()
        while not problems:  # the browser says so when it likes
            page.wait_for_timeout(50)
        assert problems.pop().startswith("Failed to load resource: the server responded with a status of 400")
        page.get_by_test_id("set-camera.gap_s").fill("0.02")
        page.get_by_test_id("start").click()
        page.get_by_test_id("state").get_by_text("running").wait_for()
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / "serve.png")
        with connect(runs) as client:
            run = the_run(client, "running")
            assert (run.who, run.workflow) == ("Anna", "toys")
            with pytest.raises(InputError, match="at most 1 at once"):
                client.start("toys.yaml")
            assert client.run(run.name).me().who == "command line"
        page.get_by_test_id("open").click()
        page.get_by_test_id("operator-count").get_by_text("running").wait_for()
        page.get_by_test_id("tab-control").click()
        page.get_by_test_id("pause").click()
        page.get_by_test_id("verdict").get_by_text("paused").wait_for()
        page.screenshot(path=ARTEFACTS / "serve-run.png")
        page.close()
        desk.send_signal(signal.SIGKILL)
    with serve(tmp_path), connect(runs) as client:
        found = the_run(client, "running")
        assert (found.name, found.paused) == (run.name, True)
        client.run(run.name).resume()
        until(lambda: client.run(run.name).status().frames["captured"] > 0)
        client.run(run.name).stop()
        until(lambda: client.runs()[0].state == "ended")
        report = client.run(run.name).report()
        assert [order["who"] for order in report["orders"]] == ["Anna", "command line"]
        with client.start("toys.yaml", {"camera.frames": 9, "camera.gap_s": 0}) as second:
            until(lambda: client.runs()[0].state == "ended")
            assert (second.report()["verdict"], second.report()["frames"]["delivered"]) == ("complete", 9)
        with suppress(psutil.NoSuchProcess):  # its page stays for a while, for those who look
            process = psutil.Process(msgspec.json.decode((runs / run.name / "log/started.json").read_bytes())["pid"])
            process.kill()
            process.wait(10)
        assert [found.verdict for found in client.runs()] == ["complete", "degraded"]
    assert problems == []
    asked = (runs / "page.jsonl").read_text()
    assert '"who":"Anna","action":"start' in asked
    assert '"outcome":"refused: ' in asked
    assert "camera.gap_s = -1" in asked
    assert (runs / run.name / "log/errors.log").read_bytes() == b""
