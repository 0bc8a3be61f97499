"""What the documentation says is true: its code runs, its files exist, its commands are there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from camlink.block import CountFrames
from camlink.display.terminal.options import read_flow
from camlink.testing.source import Source, check_source
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.check import check
from camlink.workflow.port import Listed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf8"), re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf8")):
        assert (page.parent / target).exists(), target


def run(code: str, name: str) -> dict[str, object]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module.__dict__


def test_the_example_of_the_readme_draws_its_graph(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(ROOT / "README.md")
    run(code, "readme_example")
    assert "frames  replay (source, at here)" in capsys.readouterr().out


def test_the_operators_of_the_guide_work(tmp_path: Path) -> None:
    first, second, source, third, fourth = blocks(ROOT / "docs" / "how-to-write-an-operator.md")
    bright, mean = run(first, "guide_bright")["bright"], run(second, "guide_mean")["mean"]
    raw = toy_frames(toy_scan(4), 0, 4)
    counts = CountFrames(raw.header, {**raw.arrays, "frames": raw.frames.astype(np.float32)})
    body = bright.make(bright.parameters(least=1.0), None)
    assert body(counts) is counts
    assert bright.make(bright.parameters(least=9.0), None)(counts) is None
    (result,) = mean.make(mean.parameters(), None)(Listed([counts]))
    np.testing.assert_allclose(result.arrays["mean"], 1.5)
    normalise = run(third, "guide_normalise")["normalise"]
    assert normalise.joins
    body = normalise.make(normalise.parameters(), None)
    assert body(counts, None) is counts
    check_mine = run(fourth, "guide_check")["check_mine"]
    check_source(Source(run(source, "guide_source")["noise"], tmp_path))
    check_mine(bright, tmp_path)
    check_mine(mean, tmp_path)
    lit = counts.rows([1, 2, 3])  # frame 0 is dark
    np.testing.assert_allclose(body(lit, lit).frames.sum(axis=(1, 2)), 1)


def test_the_workflow_of_the_guide_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "how-to-write-a-workflow.md").read_text("utf8"), re.S)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "flow.yaml").write_text(text)
    (tmp_path / "mean.py").write_text(blocks(ROOT / "docs" / "how-to-write-an-operator.md")[1])
    assert check(read_flow(tmp_path / "flow.yaml")).problems == ()
    sys.modules.pop("mean")


def test_every_command_of_the_readme_exists() -> None:
    from camlink.display.terminal.app import app

    known = {c.name for c in app.registered_commands}
    text = (ROOT / "README.md").read_text(encoding="utf8")
    named = set(re.findall(r"camlink ([a-z]+) ", text)) - {"turns", "finds", "import"}
    assert named <= known
