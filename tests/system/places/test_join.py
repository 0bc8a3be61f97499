"""An agent that somebody starts by hand dials us; when it dies another is started in its place."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apart import until

from camlink.runtime import states
from camlink.runtime.log import read_log
from camlink.runtime.messages import Ready
from camlink.runtime.place import join_site
from camlink.runtime.reach import harbour
from camlink.runtime.run import open_run
from camlink.runtime.story import tell
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.usefixtures("nothing_is_left")]
FRAMES = 120
LIFE_S = 10.0  # three quarters of it may pass without a word: a relay is started in less


class OutsideRelay:
    """`camlink relay` as somebody runs it on a machine that both sides reach; restarted at its port."""

    def __init__(self, folder: Path) -> None:
        self.key, self._log, self._port = folder / "relay.key", folder / "relay.log", "0"
        self.start("--new-key")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def said(self) -> str:
        return self._log.read_text()

    def start(self, *more: str) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "camlink", "relay", str(self.key), "--port",
                                              self._port, *more], stdout=log, stderr=log)
        began = 1 + (self._port != "0")
        until(lambda: self.said.count("relay   ") == began, 20, "the relay listens")
        self._port = self.said.partition("relay   127.0.0.1:")[2].split()[0]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[OutsideRelay]:
    relay = OutsideRelay(tmp_path)
    yield relay
    relay.kill()


def start(run: Path, agent: str, *more: str) -> subprocess.Popen[bytes]:
    """Do what the file of an agent says, and what its user adds, with the camlink of this Python."""
    words = run / "keys" / agent / "join"
    until(words.exists, 60, f"{words} is there")
    return subprocess.Popen([sys.executable, "-m", *shlex.split(words.read_text()), *more])


@pytest.mark.parametrize("ends", ["", *(pytest.param(how, marks=pytest.mark.full) for how in ("dies", "walltime"))])
def test_an_agent_that_somebody_starts_dials_us(tmp_path: Path, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ends == "dies":
        monkeypatch.setattr(states, "FAR_SILENCE_S", 5.0)  # only its silence tells
    folder = tmp_path / "run"
    site = Site("cluster", "join", {"address": "127.0.0.1", "margin_s": 4})
    made = Workflow("joined", sites={"here": Site("here"), "cluster": site})
    frames = made.add("camera", toys.camera, frames=FRAMES, gap_s=0.02, wait_at=100 if ends == "walltime" else -1)
    count = made.add("count", toys.count, frames, at="cluster")
    made.add("add", toys.add, count)
    seen: list[Any] = []
    with open_run(made, folder=folder, watch=seen.append) as opened:
        first = start(folder, "cluster", *(("--walltime", "8") if ends == "walltime" else ()))
        assert (folder / "keys/cluster/agent.key").stat().st_mode & 0o777 == 0o600
        if ends == "dies":
            until(lambda: seen and seen[-1].frames["delivered"] > 40, 60, "frames are delivered")
            first.kill()
            first.wait(10)
        last = start(folder, "cluster.next1") if ends else first
        if ends == "walltime":
            assert first.wait(60) == 0  # relieved, before its time is over
            (folder / toys.GO).touch()
        report = opened.wait(90)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(FRAMES))
    assert last.wait(20) == 0
    assert {link["kind"] for link in report.links} == {"far"}
    told = "\n".join(tell(folder))
    assert f"the agent 'cluster': waits until somebody runs what {folder}/keys/cluster/join says" in told
    assert ("the agent 'cluster.next1' joined" in told) is bool(ends)
    assert list((folder / "keys").iterdir()) == []
    assert not [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if "agent.key" in line]


@pytest.mark.full
def test_who_comes_over_a_relay_outside_after_the_first_life_of_keys_and_tickets_is_linked(
        outside: OutsideRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When both are over the relay is restarted, so that all dial again, and a worker is replaced."""
    monkeypatch.setattr(harbour, "LEASE_S", LIFE_S)
    monkeypatch.setattr(join_site, "LIFE_S", LIFE_S)
    folder = tmp_path / "run"
    site = Site("cluster", "join", {"relay": outside.address, "relay_key": str(outside.key)})
    made = Workflow("leased", sites={"here": Site("here"), "cluster": site})
    made.add("camera", toys.camera, frames=900, gap_s=0.02, wait_at=850)
    made.add("count", toys.count, "camera", at="cluster")
    made.add("add", toys.add, "count")
    seen: list[int] = []
    with open_run(made, folder=folder, watch=lambda s: seen.append(int(s.frames["delivered"]))) as opened:
        agent = start(folder, "cluster")
        until(lambda: seen and seen[-1] > 0, 60, "frames are delivered")
        time.sleep(LIFE_S)
        before = seen[-1]
        outside.kill()
        outside.start()
        until(lambda: seen[-1] > before + 10, 30, "frames are delivered again")
        worker = next(entry.event.pid for entry in read_log(folder / "events.jsonl")
                      if isinstance(entry.event, Ready) and entry.event.operator == "count")
        os.kill(worker, signal.SIGKILL)
        (folder / toys.GO).touch()
        report = opened.wait(60)
    assert agent.wait(20) == 0
    assert (report.verdict, report.reasons) == ("complete", ())
    assert [restart["operator"] for restart in report.restarts] == ["count"]
    assert report.operators["add"]["total"] == sum(range(900))
    assert [link["turned_away"] for link in report.links] == [{}, {}]
    assert "turned away" not in outside.said
