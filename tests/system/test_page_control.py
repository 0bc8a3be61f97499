"""The page as a place to act: an operator steers a real run in a real browser, a viewer only looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from camlink.display.live import Live
from camlink.display.web.ordering import actions_of
from camlink.display.web.server import PageServer
from camlink.runtime.run import open_run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"


def test_an_operator_steers_the_run_in_the_browser_and_a_viewer_only_looks(tmp_path: Path, browser: Any) -> None:
    flow = Workflow("toys", sites={"here": Site("here", "inline")})
    counted = flow.add("count", toys.count, flow.add("camera", toys.camera, frames=60_000, gap_s=0.01))
    flow.add("look", toys.look, flow.add("add", toys.add, counted), policy="latest")
    live = Live()
    with PageServer(live) as server, open_run(flow, folder=tmp_path, screen=live, watch=live.put_status) as opened:
        server.audit.keep(tmp_path / "log" / "page.jsonl")
        server.actions |= actions_of(opened.order, opened.choices)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.goto(server.url)
        page.get_by_test_id("tab-control").click()
        page.get_by_test_id("operator-count").get_by_text("running").wait_for()
        page.get_by_text("and may look").wait_for()
        assert page.get_by_test_id("stop").count() == 0
        page.goto(f"{server.invitation}&who=Anna")
        page.get_by_test_id("tab-control").click()
        page.get_by_test_id("pause").click()
        page.get_by_test_id("verdict").get_by_text("paused").wait_for()
        page.get_by_test_id("pause").click()
        page.get_by_test_id("verdict").get_by_text("running").wait_for()
        page.get_by_test_id("more-count").click()
        page.get_by_test_id("replicas-count").get_by_text("2").wait_for()
        page.get_by_test_id("set-sleep_s").fill("-1")
        page.get_by_test_id("apply").click()
        page.get_by_test_id("banner").get_by_text("count.sleep_s = -1").wait_for()
        page.get_by_test_id("set-sleep_s").fill("0.001")
        page.get_by_test_id("apply").click()
        page.get_by_test_id("orders").get_by_text("sleep_s 0.001").wait_for()
        page.get_by_test_id("tag").fill("good alignment")
        page.get_by_test_id("tag").press("Enter")
        page.get_by_test_id("orders").get_by_text("good alignment").wait_for()
        ARTEFACTS.mkdir(exist_ok=True)
        for name, width, scheme in (("light", 1440, "light"), ("dark", 1440, "dark"), ("phone", 390, "dark")):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=ARTEFACTS / f"control-{name}.png", full_page=True)
        page.set_viewport_size({"width": 1440, "height": 900})
        page.get_by_test_id("stop").click()
        assert not opened.over
        page.get_by_test_id("stop").click()
        report = opened.wait(30)
        page.get_by_test_id("verdict").get_by_text("degraded").wait_for()
    assert report.reasons[0] == "stopped: stopped by Anna on the page"
    assert [(o["type"], o["who"]) for o in report.orders] == [
        (kind, "Anna") for kind in ("Pause", "Pause", "Scale", "Adjust", "Tag")]
    audit = (tmp_path / "log" / "page.jsonl").read_text()
    assert '"who":"Anna","action":"stop' in audit
