"""The line between a master and the agent of another machine is cut again and again: no word is lost, nor a frame."""

from __future__ import annotations

import random
import selectors
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from apart import until

from camlink.runtime.run import open_run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
FRAMES = 150


class Scissors:
    """Leads connections on to a port and cuts each, with all that is under way, after some bytes or some time."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self._chance = port, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near, socket.socket() as far:
                if far.connect_ex(("127.0.0.1", self._port)):
                    continue
                self._carry({near: far, far: near}, self._chance.randint(1500, 9000))
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _carry(self, ends: dict[socket.socket, socket.socket], nbytes: int) -> None:
        until_s = time.monotonic() + 1.5
        with selectors.DefaultSelector() as selector:
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            while nbytes > 0 and time.monotonic() < until_s:
                for key, _ in selector.select(0.1):
                    end: socket.socket = key.fileobj  # type: ignore[assignment]
                    try:
                        data = end.recv(min(nbytes, 512))
                        ends[end].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    nbytes -= len(data)
        self.cuts += 1


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 8))])
def test_a_line_that_is_cut_again_and_again_costs_no_word(tmp_path: Path, seed: int) -> None:
    made = Workflow("cut", sites={"here": Site("here"), "far": Site("far", "join")})
    frames = made.add("camera", toys.camera, frames=FRAMES, gap_s=0.02, wait_at=FRAMES - 20)
    made.add("add", toys.add, made.add("count", toys.count, frames, at="far"))
    words = tmp_path / "run" / "keys" / "far" / "join"
    with open_run(made, folder=tmp_path / "run") as opened:
        deadline_s = time.monotonic() + 20
        while not words.exists():
            assert time.monotonic() < deadline_s, "nobody may join"
            time.sleep(0.02)
        command = shlex.split(words.read_text())
        place = command.index("--join") + 1
        scissors = Scissors(int(command[place].rpartition(":")[2]), seed)
        command[place] = f"tcp://127.0.0.1:{scissors.port}"
        agent = subprocess.Popen([sys.executable, "-m", *command])
        until(lambda: scissors.cuts >= 3, 30, "the line was cut")
        (tmp_path / "run" / toys.GO).touch()
        report = opened.wait(50)
    code = agent.wait(10)  # it has heard that the run is over
    scissors.close()
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert code == 0
    assert '"AgentLost"' not in (tmp_path / "run" / "events.jsonl").read_text()
