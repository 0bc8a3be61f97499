from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camlink.display.terminal.app import app
from camlink.runtime.doctor import machine, rates
from camlink.runtime.doctor.finding import Finding

WORKFLOW = """
workflow: fixed
operators:
  beamline: {use: twin, port: %d}
  camera:   {use: fastccd, from: beamline}
  reduce:   {use: ptychography.reduce, from: camera}
  look:     {use: view, from: reduce, policy: latest}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "link_rate", lambda kind, _: 1e9)
    monkeypatch.setattr(rates, "disk_rate", lambda _: 1e9)
    rows = [Finding("disk", "warn", "3 GiB", "tidy")]
    monkeypatch.setattr(machine, "look_at_machine", lambda runs, sockets: iter(rows))


def test_warnings_let_a_scan_begin() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "1 warnings, 0 refusals" in done.output


def test_a_port_that_somebody_holds_refuses(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        file = tmp_path / "w.yaml"
        file.write_text(WORKFLOW % held.getsockname()[1])
        done = CliRunner().invoke(app, ["doctor", str(file)])
    assert done.exit_code == 1
    assert "1 refusals" in done.output
    assert "camera->reduce" in done.output.replace("\n", "")
