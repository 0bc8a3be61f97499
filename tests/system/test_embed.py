"""A run inside another program: under its event loop, in a script and in a notebook."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from camlink.display.png import SIGNATURE
from camlink.runtime.run import OpenRun, open_run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]
EXAMPLES = Path(__file__).parents[2] / "examples"


def flow(frames: int = 60, gap_s: float = 0.0) -> Workflow:
    made = Workflow("toys", sites={"here": Site("here", "local")})
    counted = made.add("count", toys.count, made.add("camera", toys.camera, frames=frames, gap_s=gap_s, side=16))
    made.add("add", toys.add, counted)
    return made


def test_the_loop_of_the_program_goes_on_while_it_waits(tmp_path: Path) -> None:
    seen = []

    async def main() -> str:
        made = flow(60, 0.02).with_values({"camera.wait_at": 40})  # until some were seen here
        async with open_run(made, folder=tmp_path / "run") as opened:
            ticking = asyncio.create_task(tick(opened))
            report = await opened
            assert await opened is report  # as often as one likes
            ticking.cancel()
            assert opened.status is not None
            assert opened.status.frames["captured"] == 60
        return report.verdict

    async def tick(opened: OpenRun) -> None:
        while True:
            await asyncio.sleep(0.01)
            seen.append(opened.status.frames.get("captured", 0) if opened.status else 0)
            if seen[-1]:
                (tmp_path / "run" / toys.GO).touch()

    assert asyncio.run(main()) == "complete"
    assert any(0 < captured < 60 for captured in seen)


def test_who_stops_waiting_does_not_stop_the_run_and_who_leaves_does(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_run(flow(10_000, 0.05), folder=tmp_path / "run") as opened:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(opened, 1.5)
            assert not opened.over
        assert opened.over
        report = await opened
        assert any("left by its owner" in reason for reason in report.reasons), report.reasons

    asyncio.run(main())


def test_the_script_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "embed.py"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=100)
    assert done.returncode == 0, done.stderr
    assert "complete: 76 of 76 frames" in done.stdout
    assert "solve/object" in done.stdout


def test_the_notebook_runs_and_shows_a_picture(tmp_path: Path) -> None:
    made = tmp_path / "made.ipynb"
    copy = shutil.copy(EXAMPLES / "embed.ipynb", tmp_path)  # a notebook works in the folder where it lies
    done = subprocess.run([Path(sys.executable).with_name("jupyter-execute"), copy, f"--output={made}"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    outputs = [output for cell in json.loads(made.read_text())["cells"] for output in cell.get("outputs", ())]
    assert "complete 76 of 76 frames" in "".join("".join(output.get("text", "")) for output in outputs)
    [image] = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert b64decode(image).startswith(SIGNATURE)
