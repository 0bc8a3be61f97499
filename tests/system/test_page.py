"""The page in a real browser: it draws, it follows, it survives a lost server, it says when the run is over."""

import re
import runpy
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from apart import until
from playwright.sync_api import expect

from camlink.block import Result
from camlink.display.client import LETTER, connect
from camlink.display.live import Live
from camlink.display.web.server import PageServer
from camlink.testing.toys import toy_frames, toy_scan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "test-artefacts"
Feed = runpy.run_path(str(Path(__file__).with_name("page_feed.py")))["Feed"]


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    yield page
    context.close()


def shot(page, name):
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"page-{name}.png")


PIXELS = """(id) => {
    const c = document.querySelector(`[data-testid=${id}-canvas]`);
    const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
    let sum = 0; for (let i = 0; i < d.length; i += 7) sum = (sum * 31 + d[i]) >>> 0;
    return [new Set(d).size, sum];
}"""


def pixels(page, panel):
    """A small fingerprint of what a canvas shows: number of colours and a checksum."""
    return page.evaluate(PIXELS, panel)


def wait_drawn(page, panel, timeout=60_000):
    page.wait_for_function("(id) => document.querySelector(`[data-testid=${id}-canvas]`)?.dataset.sequence",
                           arg=panel, timeout=timeout)


def wait_changed(page, panel, before):
    """Wait until a canvas shows something else than that checksum."""
    page.wait_for_function(f"([id, before]) => ({PIXELS})(id)[1] !== before", arg=[panel, before], timeout=30_000)


def settled(page, panel, before=None):
    """The checksum of a canvas that, once it has changed, stays as it is for half a second."""
    if before is not None:
        wait_changed(page, panel, before)
    seen = [None, pixels(page, panel)[1]]
    while seen[-1] != seen[-2]:
        page.wait_for_timeout(500)
        seen.append(pixels(page, panel)[1])
    return seen[-1]


def test_a_run_is_followed_to_its_end(page):
    live = Live()
    with PageServer(live) as server:
        page.goto(server.url)
        page.get_by_test_id("verdict").get_by_text("waiting").wait_for()
        shot(page, "waiting")
        feed = Feed(live, seconds=90).start()
        for panel in ("object", "frame", "map", "probe"):
            wait_drawn(page, panel)
        first = {panel: pixels(page, panel) for panel in ("object", "frame", "map")}
        for panel, before in first.items():
            wait_changed(page, panel, before[1])
            assert pixels(page, panel)[0] > 12
        page.wait_for_timeout(500)
        shot(page, "running")
        for part in ("phase", "complex"):
            page.get_by_test_id(f"object-part-{part}").click()
            page.wait_for_timeout(700)
            shot(page, f"object-{part}")
        page.get_by_test_id("object-part-amplitude").click()
        feed.seconds = 1  # all of it by now
        page.get_by_test_id("verdict").get_by_text("complete").wait_for(timeout=30_000)
        page.get_by_test_id("banner").get_by_text("final picture").wait_for()
        expect(page.locator("[data-testid=panel-account] td.good")).to_have_count(8)
        ages = page.locator("[data-testid=panel-account] svg.spark").first
        expect(ages).to_have_attribute("aria-label", re.compile("below 4.1 ms"))
        expect(ages.locator("rect")).to_have_count(3)
        page.wait_for_timeout(600)
        shot(page, "complete")
        feed.close()
    page.wait_for_timeout(800)
    assert "final picture" in page.get_by_test_id("banner").inner_text()
    assert pixels(page, "object")[0] > 12
    assert [c for c in page.complaints if "WebSocket" not in c and "ERR_CONNECTION" not in c] == []


def test_a_workflow_of_ones_own_shows_its_pictures_in_place_of_empty_panels(page):
    live, raw = Live(), toy_frames(toy_scan(4), 0, 4)
    live.show(Result(raw.header, {"mean": np.arange(600.0).reshape(20, 30)}))
    live.show(raw)
    with PageServer(live) as server:
        page.goto(server.url)
        wait_drawn(page, "object")
        wait_drawn(page, "frame")
        expect(page.get_by_test_id("panel-object").locator("h2")).to_contain_text("mean")
        assert pixels(page, "object")[0] > 12
        expect(page.locator(".panel.picture")).to_have_count(2)
        expect(page.locator(".empty")).to_have_count(0)
        shot(page, "own")


@contextmanager
def fed(page):
    """A page that shows what a short feed has brought."""
    live = Live()
    feed = Feed(live, seconds=0.2).start()
    feed.thread.join(20)
    with PageServer(live) as server:
        page.goto(server.url)
        yield live
    feed.close()


def test_controls_change_the_picture(page):
    with fed(page):
        wait_drawn(page, "object")
        seen = {"start": settled(page, "object")}
        canvas = page.get_by_test_id("object-canvas")
        canvas.hover()
        page.mouse.wheel(0, -900)
        seen["zoom"] = settled(page, "object", seen["start"])
        box = canvas.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 120, middle[1] + 60, steps=4)
        page.mouse.up()
        seen["pan"] = settled(page, "object", seen["zoom"])
        page.get_by_test_id("object-reading").get_by_text("µm").wait_for()
        shot(page, "zoomed")
        canvas.dblclick()
        assert settled(page, "object", seen["pan"]) == seen["start"]
        page.get_by_test_id("object-controls").click()
        page.get_by_test_id("object-map").select_option("viridis")
        seen["map"] = settled(page, "object", seen["start"])
        page.get_by_test_id("object-scale").select_option("log")
        seen["log"] = settled(page, "object", seen["map"])
        page.get_by_test_id("object-auto").uncheck()
        shot(page, "controls")
        assert len(set(seen.values())) == len(seen), seen
        with page.expect_download() as download:
            page.get_by_test_id("object-png").click()
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
        assert page.complaints == []


def test_on_a_phone_the_picture_comes_first_and_nothing_is_cut_off(browser):
    live = Live()
    feed = Feed(live, seconds=0.2, verdict="degraded", lost=3).start()
    feed.thread.join(20)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    with PageServer(live) as server:
        page.goto(server.url)
        wait_drawn(page, "object")
        shot(page, "phone")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        ends = page.evaluate("""[...document.querySelectorAll('.panel > header > *, .panel td')]
            .map((e) => e.getBoundingClientRect()).filter((box) => box.width && box.right > 390).length""")
        assert ends == 0
        assert page.get_by_role("heading", name="Object").bounding_box()["width"] > 40
        assert page.get_by_test_id("banner").evaluate("(e) => e.scrollHeight - e.clientHeight") <= 0
        canvas = page.get_by_test_id("object-canvas").bounding_box()
        assert canvas["y"] + canvas["height"] < 844
    feed.close()
    page.close()


def test_a_reading_is_of_the_pixel_that_it_stands_beside(page):
    with fed(page) as live:
        wait_drawn(page, "map")
        box = page.get_by_test_id("map-canvas").bounding_box()
        middle = box["y"] + box["height"] / 2
        for part in (0.4, 0.5, 0.6):  # faster than it is read
            page.mouse.move(box["x"] + box["width"] * part, middle)
        page.wait_for_function("""() => Number(/^\\[\\d+, (\\d+)\\]/.exec(
            document.querySelector('[data-testid=map-reading]')?.textContent)?.[1]) > 10""")  # the last of them
        said = page.get_by_test_id("map-reading").inner_text()
        y, x = map(int, re.match(r"\[(\d+), (\d+)\]", said).groups())
        label, value = live.value("stxm/map", y, x)
        assert label.shape[1] == 20
        assert float(said.split("µm")[1].split()[0]) == pytest.approx(value, rel=1e-3)


def test_the_page_comes_back_when_the_server_does(page):
    live = Live()
    feed = Feed(live, seconds=120, verdict="degraded", lost=3).start()
    server = PageServer(live)
    page.goto(server.url)
    wait_drawn(page, "object")
    server.close()
    page.get_by_text("No connection to the run").wait_for()
    shot(page, "lost")
    before = pixels(page, "frame")
    with PageServer(live, port=server.port):
        page.get_by_text("No connection to the run").wait_for(state="detached")
        wait_changed(page, "frame", before[1])
        shot(page, "back")
    feed.close()


def test_many_viewers_share_pictures_and_do_not_slow_the_run(browser):
    live = Live()
    with PageServer(live) as server:
        pages = [browser.new_page(viewport={"width": 1440, "height": 900}) for _ in range(3)]
        for page in pages:
            page.goto(server.url)
        feed = Feed(live, seconds=3).start()
        for page in pages:
            wait_drawn(page, "object")
        end_s = time.monotonic() + 30
        while (status := live.status()) is None or status.verdict is None:
            assert time.monotonic() < end_s
            pages[0].wait_for_timeout(200)
        versions = live.versions()
        shown = sum(versions[name] for name in ("solve/object", "solve/probe", "stxm/map", "camera/frame"))
        assert live._pictures.made <= shown + 12, "each version is made once, whoever looks"
        feed.close()
        for page in pages:
            page.close()


def test_the_page_of_the_demo_follows_a_real_run(page, tmp_path):
    command = [sys.executable, "-m", "camlink", "demo", "--no-browser", "--folder", str(tmp_path / "run"),
               *(f"--set={which}" for which in ("beamline.points_y=14", "beamline.points_x=14", "solve.iterations=20"))]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        url = next(m.group() for line in demo.stdout if (m := re.search(r"http://\S+", line)))
        page.goto(url)
        letter = tmp_path / "run" / "log" / LETTER
        until(lambda: letter.exists() and letter.read_bytes(), 60, "the run can be spoken to")
        with connect(tmp_path / "run") as run:  # the scan waits for the page, however slow that is
            until(lambda: (now := run.status()) and now.frames.get("captured", 0) > 60, 60, "frames came")
            run.pause()
            page.get_by_test_id("verdict").get_by_text("paused").wait_for()
            shot(page, "demo-start")
            first = {}
            for panel in ("frame", "map", "object", "probe"):
                wait_drawn(page, panel)
                first[panel] = pixels(page, panel)[1]
            run.resume()
        for panel in ("frame", "map", "object"):
            wait_changed(page, panel, first[panel])
        shot(page, "demo-middle")
        page.get_by_test_id("verdict").get_by_text("complete").wait_for(timeout=60_000)
        page.wait_for_timeout(600)
        shot(page, "demo-end")
        expect(page.locator("[data-testid=panel-account] td.good")).to_have_count(9)
        assert page.complaints == []
        assert demo.poll() is None, "the page must stay up while somebody looks at it"
        page.close()
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait()
        demo.stdout.close()
