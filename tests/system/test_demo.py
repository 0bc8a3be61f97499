"""The main job as a user starts it: the demo, its faults, its end by Ctrl-C, and the real Siemens star."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from camlink.beamline.twin.compare import compare_files
from camlink.beamline.twin.truth import read_truth
from camlink.carry.formats.cxi_read import read_cxi
from camlink.display.client import connect
from camlink.display.image import Lens, picture
from camlink.display.png import png
from camlink.errors import CamlinkError
from camlink.testing.samples import sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
SHORT = ("--set", "solve.iterations=20")
SMALL = ("--set", "beamline.points_y=12", "--set", "beamline.points_x=12", "--set", "beamline.rate_hz=40")


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "camlink", *words, "--no-browser", "--exit", "--folder", str(folder),
            "--report", str(folder / "report.json")]


def camlink(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(command(folder, *words), capture_output=True, text=True, timeout=240, cwd=ROOT,
                          stdin=subprocess.DEVNULL)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, json.loads((folder / "report.json").read_text())


def until_captured(folder: Path, frames: int) -> None:
    """Wait until a run has captured more frames than that."""
    ends_s = time.monotonic() + 60
    while True:
        with suppress(CamlinkError), connect(folder) as run:  # its page may not be up yet
            status = run.status()
            if status and status.frames.get("captured", 0) > frames:
                return
        assert time.monotonic() < ends_s, "no frames came"
        time.sleep(0.2)


def assert_law(report: dict[str, Any]) -> None:
    for link in report["links"]:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
        assert link["in_flight"] == 0
    frames = report["frames"]
    assert frames["expected"] == frames["captured"] + sum(frames["lost"].values())


def test_the_demo_is_complete_and_close_to_the_truth(tmp_path: Path) -> None:
    code, report = camlink(tmp_path, "demo", "ptychography")
    assert (code, report["verdict"], report["reasons"]) == (0, "complete", [])
    assert report["frames"]["expected"] == report["frames"]["delivered"] == 412
    assert_law(report)
    assert report["result"]["error_vs_truth"] <= 0.15
    times = report["times"]
    assert times["first_picture_s"] < times["first_frame_s"] + (times["last_frame_s"] - times["first_frame_s"]) / 2
    with read_cxi(Path(report["result"]["files"][0])) as kept:
        assert kept.frames is not None
        assert len(kept.frames) == 400
        assert kept.object is not None


def test_dropped_packets_are_counted_to_the_frame_and_pairs_never_shift(tmp_path: Path) -> None:
    code, report = camlink(tmp_path, "demo", "ptychography", "--fault", "drop-packets=0.01,drop-frames=0.02", *SMALL,
                           *SHORT, "--set", "beamline.double_exposure=true")
    assert (code, report["verdict"]) == (1, "degraded")
    sent, frames = read_truth(tmp_path / "truth.h5").sent, report["frames"]
    assert frames["damaged"] == sent["frames_damaged"] > 0
    assert sum(frames["lost"].values()) == sent["frames_lost"] > 0
    assert report["operators"]["camera"]["packets"]["missing"] == sent["packets_dropped"]
    assert_law(report)
    assert report["result"]["error_vs_truth"] <= 0.2
    with read_cxi(Path(report["result"]["files"][0])) as kept:
        truth = read_truth(tmp_path / "truth.h5")
        assert kept.position_m is not None
        np.testing.assert_allclose(kept.position_m, truth.positions_m[kept.point], atol=1e-10)
        assert len(np.unique(kept.point)) == len(kept.point)


def test_replicas_of_the_reduction_know_the_dark_of_all_and_the_scan_waits_while_it_is_paused(tmp_path: Path) -> None:
    """In the middle a third replica joins, the beamline holds the scan for a second, and the solver changes its way."""
    text = (ROOT / "src/camlink/display/terminal/demos/ptychography.yaml").read_text()
    (tmp_path / "two.yaml").write_text(text.replace("ptychography.reduce,", "ptychography.reduce, replicas: 2,"))
    folder = tmp_path / "run"
    process = subprocess.Popen([*command(folder, "run", str(tmp_path / "two.yaml")), *SMALL[:4], "--set",
                                "beamline.rate_hz=20"], cwd=ROOT, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        until_captured(folder, 40)  # a third one joins when some exposures have been seen
        with connect(folder) as run:
            run.scale("reduce", 3)
            run.set("solve", algorithm="raar", iterations=25)
            run.pause()
            seen = [-1, 0]
            while seen[-1] != seen[-2]:  # 20 a second otherwise; heartbeats may be late
                time.sleep(1)
                seen.append(run.status().frames["captured"])
            assert seen[-1] < 156
            run.resume()
        assert process.wait(120) == 0
    finally:
        process.kill()
    report = json.loads((folder / "report.json").read_text())
    assert (report["verdict"], report["frames"]["delivered"]) == ("complete", 156)
    assert_law(report)
    assert [order["type"] for order in report["orders"]] == ["Scale", "Adjust", "Pause", "Pause"]
    assert report["operators"]["reduce"]["dark_frames"] == 12
    with read_cxi(Path(report["result"]["files"][0])) as kept:
        assert kept.frames is not None
        assert len(kept.frames) == len(np.unique(kept.point)) == 144
    assert compare_files(Path(report["result"]["files"][0]), folder / "truth.h5").nrms < 0.15


def test_ctrl_c_keeps_what_arrived_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tempfile.mkdtemp(prefix="ct-")  # short, for the path of a socket; and nobody else's sockets there
    monkeypatch.setenv("XDG_RUNTIME_DIR", own)
    run = subprocess.Popen(command(tmp_path, "demo", "ptychography", *SHORT), stdout=subprocess.PIPE, text=True,
                           cwd=ROOT, stdin=subprocess.DEVNULL)
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith("step 3"):
            break
    below = psutil.Process(run.pid).children(recursive=True)
    until_captured(tmp_path, 20)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    report = json.loads((tmp_path / "report.json").read_text())
    assert run.returncode == 1
    assert report["verdict"] == "degraded"
    assert "stopped: Ctrl-C" in report["reasons"]
    assert 0 < report["frames"]["captured"] < 412
    assert psutil.wait_procs(below, timeout=10)[1] == []
    Path(own).rmdir()
    with read_cxi(Path(report["result"]["files"][0])) as kept:
        assert kept.frames is not None
        assert len(kept.frames) > 0
    assert "what arrived is kept" in out


def test_the_real_siemens_star_becomes_a_star(tmp_path: Path) -> None:
    sample("siemens-star-small.npz.bz2")
    code, report = camlink(tmp_path, "run", "examples/siemens-star.yaml", "--set", "frames.rate_hz=50")
    assert (code, report["verdict"]) == (0, "complete")
    assert report["frames"]["delivered"] == 516
    assert report["result"]["fourier_error"] <= 0.2
    with read_cxi(Path(report["result"]["files"][0])) as kept:
        assert kept.object is not None
        star = kept.object
    artefact = ROOT / "test-artefacts" / "siemens-star-run.png"
    artefact.parent.mkdir(exist_ok=True)
    artefact.write_bytes(png(picture(star, Lens(part="phase")), "gray"))
    middle = star[tuple(slice(side // 2 - 60, side // 2 + 60) for side in star.shape)]
    assert spokes_seen(np.angle(middle * np.exp(-1j * np.angle(middle.mean()))))


def spokes_seen(phase: np.ndarray) -> bool:
    """Whether the phase on some circle is a square wave of one frequency, well above all others."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    best = 0.0
    for y0 in range(30, 91, 6):
        for x0 in range(30, 91, 6):
            y, x = (y0 + 24 * np.sin(angle)).astype(int), (x0 + 24 * np.cos(angle)).astype(int)
            power = np.abs(np.fft.rfft(phase[y, x] - phase[y, x].mean())) ** 2
            best = max(best, float(power[16:60].max() / np.median(power[8:120])))
    return best > 50
