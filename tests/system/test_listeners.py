"""camlink doctor --listeners: it knows each kind of protection, finds what is open, and a run has nothing open."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import zmq

from camlink.carry.far.admission import Admission
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarOutlet
from camlink.carry.far.relay import Relay
from camlink.carry.far.ticket import RelayKey
from camlink.display.live import Live
from camlink.display.web.encryption import encryption_for
from camlink.display.web.server import PageServer
from camlink.runtime.doctor.listeners import Listener, find_listeners
from camlink.runtime.rundir import make_socket_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def mine() -> dict[str, Listener]:
    return {listener.where: listener for listener in find_listeners([psutil.Process()])}


def test_every_kind_of_protection_is_known() -> None:
    context = zmq.Context()
    keys = make_keys("run", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    admission = Admission(context)
    outlet = FarOutlet(context, "tcp://0.0.0.0:*", "a->b", keys[SENDER], admission)
    relay = Relay(RelayKey(bytes(32)), "0.0.0.0")
    thread = threading.Thread(target=relay.run)
    thread.start()
    with (PageServer(Live(), host="0.0.0.0") as page,
          PageServer(Live(), host="0.0.0.0", encryption=encryption_for("0.0.0.0")) as secret):
        found = mine()
    assert found[f"tcp 0.0.0.0:{secret.port}"].protection == "TLS"
    curve = found[f"tcp 0.0.0.0:{outlet.address.rpartition(':')[2]}"]
    assert (curve.protection, curve.reach, curve.open) == ("CURVE", "other machines", False)
    assert found[f"tcp {relay.address}"].protection == "ticket"
    assert found[f"tcp 0.0.0.0:{page.port}"].protection == "login"
    outlet.close()
    admission.close()
    relay.close()
    thread.join(5)
    context.destroy(linger=0)


@pytest.mark.parametrize("kind", ["zmq", "tcp", "udp", "abstract", "unix"])
def test_what_is_open_is_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camlink.runtime.doctor.probe.ANSWERS_S", 0.2)  # nobody answers there
    context = zmq.Context()
    wide = context.socket(zmq.PULL)
    other = socket.socket(socket.AF_UNIX if kind in ("abstract", "unix") else socket.AF_INET,
                          socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    name = f"\0camlink-test-{os.getpid()}"
    if kind == "zmq":
        where = f"tcp 0.0.0.0:{wide.bind_to_random_port('tcp://0.0.0.0')}"
    elif kind in ("abstract", "unix"):
        other.bind(name if kind == "abstract" else str(folder / "s"))
        where = f"unix @{name[1:]}" if kind == "abstract" else f"unix {folder / 's'}"
        (folder / "s").chmod(0o666) if kind == "unix" else None
    else:
        other.bind(("0.0.0.0", 0))
        where = f"{kind} 0.0.0.0:{other.getsockname()[1]}"
    if kind not in ("zmq", "udp"):
        other.listen()
    found = mine()
    assert found[where].open, found
    wide.close()
    other.close()
    context.term()
    (folder / "s").unlink(missing_ok=True)
    folder.rmdir()


def test_what_others_cannot_reach_is_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camlink.runtime.doctor.probe.ANSWERS_S", 0.2)  # nobody answers there
    folder = make_socket_folder(tmp_path)
    with socket.socket(socket.AF_UNIX) as private, socket.create_server(("127.0.0.1", 0)) as near:
        private.bind(str(folder / "s"))
        private.listen()
        found = mine()
        assert "mode 0700" in found[f"unix {folder}/s"].protection
        assert found[f"tcp 127.0.0.1:{near.getsockname()[1]}"].reach == "this machine"
        assert not any(listener.open for listener in found.values() if str(folder) in listener.where)


EMBEDDED = """
import subprocess, sys, time
from pathlib import Path
from camlink.runtime.run import open_run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow
made = Workflow("embedded", sites={"here": Site("here"), "far": Site("far", "join")})
made.add("count", toys.count, made.add("camera", toys.camera), at="far")
with open_run(made, folder=Path(sys.argv[1])) as opened:
    while not Path(sys.argv[1], "keys/far/join").exists():
        time.sleep(0.1)
    time.sleep(4)
    sys.stdout.write(subprocess.run([sys.executable, "-m", "camlink", "doctor", "--listeners"], capture_output=True,
                                    text=True).stdout)
"""


@pytest.mark.full
def test_the_ports_of_a_run_inside_of_another_program_are_found(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", EMBEDDED, str(tmp_path / "run")], capture_output=True, text=True,
                          timeout=90, env={**os.environ, "COLUMNS": "200"})
    said = done.stdout
    assert " CURVE" in said, said + done.stderr
    assert " ticket" in said
    assert " 0 open" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_run_has_nothing_open(host: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "camlink"]
    run = subprocess.Popen([*words, "demo", "ptychography", "--no-browser", "--exit", "--host", host, "--folder",
                            str(tmp_path / "run"), "--set", "beamline.rate_hz=5"], stdout=subprocess.DEVNULL)
    try:
        events, deadline = tmp_path / "run/events.jsonl", time.monotonic() + 90
        while not (events.exists() and '"Ready"' in events.read_text()):
            assert time.monotonic() < deadline, "nobody was ready"
            time.sleep(0.1)
        done = subprocess.run([*words, "doctor", "--listeners"], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "COLUMNS": "200"})
        assert run.poll() is None, "the run was over before it was looked at"
    finally:
        run.terminate()
        run.wait(60)
    pages = [line for line in done.stdout.splitlines() if str(run.pid) in line and f"tcp {host}:" in line]
    assert ["TLS" in page for page in pages] == [host == "0.0.0.0"], done.stdout
    assert "mode 0700" in done.stdout
    assert (done.returncode, " 0 open" in done.stdout) == (0, True), done.stdout
