"""Bad input as a user meets it: one message that says what, where and what to do; no trace; the right exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from camlink.display.terminal.app import main

pytestmark = pytest.mark.slow

HEAD = "workflow: bad\nsites: {here: {placer: inline}}\noperators:\n"
MAP = "  map: {use: stxm, from: frames}\n"
RECONSTRUCT = """
  solve: {use: ptychography.solve, from: frames, iterations: 5, polish_s: 0}
  record: {use: cxi, from: [frames, solve]}
"""


def camlink(*words: object, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "camlink", *map(str, words)], capture_output=True, text=True,
                          timeout=timeout_s, stdin=subprocess.DEVNULL)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def run(tmp_path: Path, text: str, *words: object) -> tuple[int, dict[str, Any], str]:
    (tmp_path / "w.yaml").write_text(HEAD + text)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))  # a folder takes one run
    report = folder / "report.json"
    done = camlink("run", tmp_path / "w.yaml", "--no-browser", "--exit", "--folder", folder, "--report", report, *words)
    return done.returncode, json.loads(report.read_text()) if report.exists() else {}, done.stdout + done.stderr


def small_cxi(path: Path, *, positions: int = 9, nan: bool = False) -> Path:
    """Nine frames of 32 x 32 in the plainest CXI layout."""
    rng = np.random.default_rng(1)
    frames = rng.poisson(50, (9, 32, 32)).astype(np.float32)
    if nan:
        frames[4] = np.nan
    place = np.zeros((positions, 3))
    place[:, 0], place[:, 1] = np.arange(positions) % 3 * 1e-7, np.arange(positions) // 3 * 1e-7
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["translation"] = frames, place
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 0.1, 1e-4, 1e-4
        file["entry_1/instrument_1/source_1/energy"] = 800 * 1.602176634e-19
    return path


@pytest.mark.parametrize(("words", "says"), [
    (["run", "none.yaml"], "none.yaml: cannot read the workflow: No such file or directory"),
    (["demo", "ptychografy"], "unknown demo 'ptychografy'; did you mean 'ptychography'?"),
    (["demo", "--fault", "drop-packet=0.1"], "did you mean 'drop-packets'?"),
    (["demo", "--fault", "drop-packets=2"], "drop_packets"),
    (["demo", "--set", "solve.beta"], "expected OPERATOR.PARAMETER=VALUE"),
    (["demo", "--set", "slove.beta=1"], "did you mean 'solve'?"),
    (["demo", "--set", "solve.beta=7"], "solve.beta = 7: expected `float` <= 1.0"),
    (["demo", "--set", "beamline.rate_hz=fast"], "beamline.rate_hz = 'fast'"),
    (["twin", "eiger"], "unknown twin 'eiger'"),
    (["bench", "everything"], "unknown bench 'everything'"),
    (["replay", "nothing.cxi", "--no-browser", "--exit"], "no file 'nothing.cxi' in"),
    (["--nonsense"], "No such option"),
    (["recover", "nothing.cxi"], "nothing.cxi"),
])
def test_wrong_words_end_with_one_message(words: list[str], says: str, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["camlink", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_holds_a_run_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    done = camlink("demo", "--no-browser", "--exit", "--folder", tmp_path)
    assert done.returncode == 2
    assert "holds a run already" in done.stderr


def test_a_page_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = camlink("demo", "--no-browser", "--exit", "--folder", tmp_path / "run", "--port", port)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_camera_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        code, report, _ = run(tmp_path, f"  beamline: {{use: twin}}\n  camera: {{use: fastccd, from: beamline, "
                                        f"port: {port}}}\n")
    assert code == 2
    assert str(port) in report["reasons"][0]


def test_a_file_that_is_missing_truncated_or_none_is_named(tmp_path: Path) -> None:
    whole = small_cxi(tmp_path / "whole.cxi").read_bytes()
    (tmp_path / "cut.cxi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.cxi").write_text("hello")
    for name in ("missing.cxi", "cut.cxi", "text.cxi"):
        code, report, _ = run(tmp_path, f"  frames: {{use: replay, file: {tmp_path / name}}}\n" + MAP)
        assert (code, report["verdict"]) == (2, "failed"), report["reasons"]
        assert name in report["reasons"][0]


def test_fewer_positions_than_frames_says_both_numbers(tmp_path: Path) -> None:
    file = small_cxi(tmp_path / "few.cxi", positions=7)
    code, report, _ = run(tmp_path, f"  frames: {{use: replay, file: {file}}}\n" + MAP)
    assert code == 2
    assert "7" in report["reasons"][0]
    assert "9" in report["reasons"][0]


def test_frames_of_nan_pass_and_do_no_harm(tmp_path: Path) -> None:
    file = small_cxi(tmp_path / "nan.cxi", nan=True)
    code, report, _ = run(tmp_path, f"  frames: {{use: replay, file: {file}}}\n" + RECONSTRUCT)
    assert code in (0, 1)
    assert report["frames"]["delivered"] == 9
    (kept,) = report["result"]["files"]
    with h5py.File(kept) as written:
        assert written["entry_1/data_1/data"].shape[0] == 9


SCAN = ("  beamline: {{use: twin, points_y: 6, points_x: 6, rate_hz: 60, dark_frames: {dark}, faults: '{faults}'}}\n"
        "  camera: {{use: fastccd, from: beamline, deadline_s: 2}}\n"
        "  reduce: {{use: ptychography.reduce, from: camera}}\n"
        "  solve: {{use: ptychography.solve, from: reduce, iterations: 5, polish_s: 0}}\n"
        "  record: {{use: cxi, from: [reduce, solve]}}\n")


def test_a_scan_without_darks_is_reconstructed_and_degraded(tmp_path: Path) -> None:
    code, report, _ = run(tmp_path, SCAN.format(dark=0, faults=""))
    assert (code, report["verdict"]) == (1, "degraded")
    assert any("dark" in reason for reason in report["reasons"])
    assert report["result"]["files"]


def test_a_detector_that_stops_in_the_middle_keeps_what_arrived(tmp_path: Path) -> None:
    code, report, _ = run(tmp_path, SCAN.format(dark=12, faults="stop-after=30"))
    assert (code, report["verdict"]) == (1, "degraded")
    assert report["frames"]["captured"] == 30
    assert report["frames"]["expected"] == 48
    with h5py.File(report["result"]["files"][0]) as written:
        assert written["entry_1/data_1/data"].shape[0] == 18


def test_a_detector_that_never_sends_is_named(tmp_path: Path) -> None:
    code, report, _ = run(tmp_path, SCAN.format(dark=12, faults="stop-after=0"))
    assert (code, report["verdict"], report["restarts"]) == (1, "failed", [])
    assert "camera" in report["reasons"][0]
    assert "udp://" in report["reasons"][0]
