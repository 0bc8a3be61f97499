"""What every run in a test has to leave behind: nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from rich.table import Table

from camlink.settings import read_settings

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CAMLINK_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.fail("no Chromium on this machine: install the package 'chromium' or set CAMLINK_CHROMIUM to its path")
    if not (ROOT / "src/camlink/display/web/static/index.html").is_file():
        pytest.fail("the page is not built: run `npm ci && npm run build` in web/")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run directory of the test's own; afterwards no process, socket or shared memory of the test is there."""
    own = tempfile.mkdtemp(prefix="ct-")  # short: the path of a socket has 107 bytes
    monkeypatch.setenv("XDG_RUNTIME_DIR", own)
    shared = set(Path("/dev/shm").iterdir())
    before = set(psutil.Process().children(recursive=True))  # servers of other tests of this session
    yield
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=5)
    assert [process.cmdline() for process in alive] == []
    assert set(read_settings().sockets.glob("camlink-*")) == set()
    assert {path for path in Path("/dev/shm").iterdir() if "camlink" in path.name} <= shared
    Path(own).rmdir()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The fault matrix as far as it was run: a table on the screen, and test-artefacts/faults.json."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []) if r.when == "call"]
    rows = [{**told, "ended": report.outcome, "seconds": round(report.duration, 1)}
            for report in reports if (told := dict(report.user_properties).get("fault"))]
    if not rows:
        return
    table = Table(title="fault matrix", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name)
    for row in sorted(rows, key=lambda row: (row["fault"], row["role"])):
        table.add_row(*(str(value) for value in row.values()), style="red" if row["ended"] != "passed" else None)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    terminalreporter.write(capture.get())
    artefacts = config.rootpath / "test-artefacts"
    artefacts.mkdir(exist_ok=True)
    (artefacts / "faults.json").write_text(json.dumps(rows, indent=1), encoding="utf8")
