"""The demo over machines that may only dial outward to a relay: complete, and nobody between them sees a frame."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apart import CAMLINK, RELAY, Apart, until

import camlink.display.terminal
from camlink.carry.disk.journal import read_blocks
from camlink.carry.formats.cxi_read import read_cxi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
AT = {"beamline": "beamline", "camera": "beamline", "reduce": "beamline", "stxm": "beamline", "solve": "cluster",
      "tape": "beamline"}
DEMO = Path(camlink.display.terminal.__file__).parent / "demos/ptychography.yaml"
TAPE = "  tape: {use: tap, from: camera}\n"  # beside the camera: the truth about raw frames
SMALL = ("beamline.points_y=10", "beamline.points_x=10", "beamline.rate_hz=40")
HEADERS = (b"RawFrames", b"CountFrames", b"reduce->solve")


class Tap:
    """All packets at the interfaces of the relay and of the sites."""

    def __init__(self, apart: Apart, path: Path) -> None:
        names = [f"{apart.prefix}-{name}" for name in ("relay", "laptop", "beamline", "node", "head")]
        script = Path(__file__).parents[1] / "capture_packets.py"
        self._path = path
        self._process = subprocess.Popen([sys.executable, str(script), str(path), *names], stdout=subprocess.PIPE,
                                         text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"

    def close(self) -> bytes:
        self._process.terminate()
        said, _ = self._process.communicate(timeout=60)
        assert " 0 dropped" in said, said
        assert not said.startswith("0 packets"), said
        return self._path.read_bytes()


def needles(cxi: Path, tape: Path) -> list[bytes]:
    """Runs of 64 bytes from the brightest row of some frames, reduced ones and some as the camera gave them."""
    with read_cxi(cxi) as kept:
        assert kept.frames is not None
        frames = [*kept.frames.read(0, 8)]
    frames += [frame for block in read_blocks(tape) for frame in block.arrays["frames"] if frame.any()][::6]
    assert len(frames) > 8 + 16
    rows = [frame[int(np.nansum(frame, axis=1).argmax())].tobytes() for frame in frames]
    found = [row[len(row) // 2 - 32:len(row) // 2 + 32] for row in rows]
    assert all(len(set(run)) > 8 for run in found), "too dark to be told from anything else"
    return found


def refused(apart: Apart, of: str, to: str) -> bool:
    code = f"import socket; socket.create_connection(({to!r}, 8786), 0.5)"
    done = subprocess.run(["ip", "netns", "exec", f"{apart.prefix}-{of}", sys.executable, "-c", code],
                          capture_output=True, timeout=20, check=False)
    return done.returncode != 0


def without_keys(apart: Apart, folder: Path, cxi: Path, tape: Path) -> bytes:
    """What the tap gets when the same frames go from the relay's machine to the beamline over a link without keys."""
    apart.kill_relay()
    script, log = str(Path(__file__).parents[1] / "plain_link.py"), folder / "plain.log"
    tap = Tap(apart, folder / "plain")
    try:
        sender = apart.start("relay", sys.executable, script, "send", f"tcp://{RELAY}", str(cxi), str(tape),
                             output=log)
        taker = apart.start("beamline", sys.executable, script, "take", f"tcp://{RELAY}", output=log)
        assert (sender.wait(60), taker.wait(60)) == (0, 0), log.read_text()
    finally:
        apart.start_relay()
        found = tap.close()
    return found


def test_the_demo_over_machines_that_only_dial_outward_shows_nobody_a_frame(apart: Apart, tmp_path: Path) -> None:
    assert not refused(apart, "laptop", "10.79.0.9")
    assert all(refused(apart, *pair) for pair in (("laptop", "10.79.0.6"), ("beamline", "10.79.0.5"),
                                                  ("relay", "10.79.0.5"), ("head", "10.79.0.9")))
    (tmp_path / "sites.yaml").write_text(json.dumps(
        {"sites": {"beamline": apart.site(), "cluster": apart.site()}, "at": AT}))
    tap, run, log = Tap(apart, tmp_path / "packets"), tmp_path / "run", tmp_path / "demo.log"
    words = (word for value in SMALL for word in ("--set", value))
    (tmp_path / "demo.yaml").write_text(DEMO.read_text() + TAPE)
    demo = apart.start("laptop", *CAMLINK, "run", "demo.yaml", "--sites", "sites.yaml", "--no-browser", "--exit",
                       "--folder", "run", "--report", "report.json", *words, output=log, cwd=tmp_path)
    apart.join(run)
    assert demo.wait(120) == 0, log.read_text()
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert (report["verdict"], report["reasons"]) == ("complete", [])
    assert report["frames"]["expected"] == report["frames"]["delivered"] == 112
    for link in report["links"]:
        assert link["sent"] == link["acknowledged"] + sum(link["lost"].values()), link
    far = [link for link in report["links"] if link["kind"] == "far"]
    assert {"reduce->solve", "reduce->record", "solve->record"} <= {link["name"] for link in far}
    assert any(link["received"] > 0 for link in far if link["name"] == "camera->look")
    assert not list((run / "keys").iterdir())

    between, tape = tap.close(), run / "tape.blocks"
    cxi = next(Path(file) for file in report["result"]["files"] if file.endswith(".cxi"))
    assert len(between) > 2 * sum(link["bytes"] for link in far)  # on two interfaces: it did go this way
    wanted = (*needles(cxi, tape), *HEADERS, report["scan"].encode())
    assert [word for word in wanted if word in between] == []

    plain = without_keys(apart, tmp_path, cxi, tape)
    known = needles(cxi, tape)
    assert sum(word in plain for word in known) > 0.8 * len(known)  # some lie across two packets
    assert HEADERS[0] in plain
    until(lambda: "camlink" not in apart.call("head", "squeue", "--noheader", "--format=%j"), 20, "the queue is empty")
