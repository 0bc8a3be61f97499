"""The ptychography demo as it is, over other sites: detector by ssh, solver as a job of Slurm, record and page here."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
AT = {"beamline": "beamline", "camera": "beamline", "reduce": "beamline", "stxm": "beamline", "solve": "cluster"}
SMALL = ("beamline.points_y=12", "beamline.points_x=12", "beamline.rate_hz=40")


def test_the_demo_over_a_beamline_a_cluster_and_this_machine(slurm: Path, sshd: Any, tmp_path: Path) -> None:
    for package in ("psij", "asyncssh"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[sites]'")
    beamline = {"placer": "ssh", "host": "127.0.0.1", "port": sshd.node, "user": getpass.getuser(),
                "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    sites = {"sites": {"beamline": beamline, "cluster": {"placer": "slurm"}}, "at": AT}
    (tmp_path / "sites.yaml").write_text(json.dumps(sites))
    done = subprocess.run(
        [sys.executable, "-m", "camlink", "demo", "ptychography", "--sites", "sites.yaml", "--no-browser", "--exit",
         "--folder", "run", "--report", "report.json", *(word for value in SMALL for word in ("--set", value))],
        capture_output=True, text=True, timeout=150, cwd=tmp_path, stdin=subprocess.DEVNULL)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (done.returncode, report["verdict"], report["reasons"]) == (0, "complete", []), done.stdout + done.stderr
    assert report["frames"]["expected"] == report["frames"]["delivered"] == 156
    assert report["result"]["error_vs_truth"] <= 0.2
    assert {name: told["site"] for name, told in report["operators"].items() if name in AT} == AT
    far = {link["name"] for link in report["links"] if link["kind"] == "far"}
    assert {"reduce->solve", "reduce->record", "solve->record", "camera->look"} <= far
    for link in report["links"]:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
        assert link["in_flight"] == 0
    assert list((tmp_path / "run" / "keys").glob("**/*.key")) == []
