from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camlink.display.terminal.check import check

OPERATOR = """from camlink import RawFrames, operator


@operator('same')
def same(frames: RawFrames) -> RawFrames:
    return frames
"""


def test_what_goes_along_to_other_machines_is_said_before(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "told_before.py").write_text(OPERATOR)
    (tmp_path / "flow.yaml").write_text(
        "workflow: w\nsites:\n  beam: {placer: ssh, host: beam7}\noperators:\n"
        "  camera: {use: 'camlink.testing.toys:camera'}\n  same: {use: 'told_before:same', from: camera, at: beam}\n")
    check(tmp_path / "flow.yaml")
    assert f"to beam go along: told_before.py ({len(OPERATOR)} bytes)" in capsys.readouterr().out
