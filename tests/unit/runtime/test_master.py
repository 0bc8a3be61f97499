"""A master that cannot begin leaves nothing behind; what cannot be placed later is a lost agent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import zmq

from camlink.carry.far.crossing import Passage
from camlink.carry.far.ticket import RelayKey
from camlink.errors import CamlinkError, InputError
from camlink.runtime.events import AgentLost, Refused
from camlink.runtime.log import EVENTS, read_log
from camlink.runtime.master import Master
from camlink.runtime.messages import MAX_CONTROL_BYTES, Beat, ClusterUp, Failed, Inventory, Joined, Message, encode
from camlink.runtime.run import make_master, new_folder
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "s"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def flow(**options: object) -> Workflow:
    made = Workflow("toys", sites={"far": Site("far", "join", options)})
    made.add("count", toys.count, made.add("camera", toys.camera, at="far"), at="far")
    return made


def test_two_runs_that_begin_in_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    found = {new_folder(tmp_path / "runs", name) for name in ("a/b: ../c", "a/b: ../c", "../../x")}
    assert len(found) == 3
    assert {folder.parent for folder in found} == {tmp_path / "runs"}
    assert all(folder.is_dir() for folder in found)


def begun(folder: Path) -> Path:
    (folder / "log").mkdir(parents=True)
    (folder / "events.jsonl").touch()
    return folder


@pytest.mark.parametrize("case", ["address", "begun meanwhile", "name", "long"])
def test_what_cannot_begin_says_why_and_leaves_nothing(case: str, tmp_path: Path, sockets: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made, threads = tmp_path / "run", flow(), set(threading.enumerate())
    if case == "address":
        made = flow(address="192.0.2.1")  # of nobody
    elif case == "begun meanwhile":
        monkeypatch.setattr("camlink.runtime.master.make_run_folder", begun)
    elif case == "name":
        folder = tmp_path / os.fsdecode(b"M\xfcller")
    else:
        sockets = sockets / ("x" * 100)
        sockets.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets))
    with pytest.raises(InputError, match={"address": "cannot listen", "begun meanwhile": "holds a run already",
                                          "name": "is no text", "long": "XDG_RUNTIME_DIR"}[case]):
        make_master(made, folder=folder)
    assert list(sockets.iterdir()) == []
    assert folder.exists() is (case == "begun meanwhile")
    assert set(threading.enumerate()) == threads


def test_a_run_that_never_began_keeps_no_folder_but_what_others_put_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMLINK_RUNS", str(tmp_path / "runs"))
    made, kept = Workflow("toys"), tmp_path / "kept"
    made.add("camera", toys.camera)
    kept.mkdir()
    for folder in (None, tmp_path / "new", kept):
        master = make_master(made, folder=folder)
        (master.folder / "log" / "nursery.log").touch()
        master.close()
        assert master.folder.exists() is (folder is kept)
    assert [*kept.iterdir(), *(tmp_path / "runs").iterdir()] == []
    master = make_master(made, folder=tmp_path / "new")
    (master.folder / "log" / "errors.log").write_text("said")
    master.close()
    assert (master.folder / "log" / "errors.log").exists()


def test_a_successor_that_cannot_be_placed_is_a_lost_agent_and_not_the_end_of_the_run(tmp_path: Path) -> None:
    master = make_master(flow(), folder=tmp_path / "run")
    try:
        (tmp_path / "run" / "keys").write_text("no folder")
        with pytest.raises(CamlinkError):
            master._start("far")
        master.state.phase = "graph"
        master.state.agents["far.next1"] = "far"
        master._start("far.next1")
        (lost,) = master._asked
        assert isinstance(lost, AgentLost)
        assert (lost.site, "could not be placed" in lost.text) == ("far.next1", True)
    finally:
        master.close()


def test_runs_in_folders_of_one_name_are_two_at_the_relay(tmp_path: Path) -> None:
    RelayKey.make(tmp_path / "relay.key")
    made = flow(relay="127.0.0.1:9", relay_key=str(tmp_path / "relay.key"))
    runs = []
    for parent in "ab":
        master: Master = make_master(made, folder=tmp_path / parent / "run")
        assert master._harbour is not None
        runs.append(Passage.opened(master._harbour.passage).offer.run)
        master.close()
    assert runs[0] != runs[1]


def test_an_agent_speaks_for_itself_and_its_workers_alone(tmp_path: Path) -> None:
    master = make_master(flow(), folder=tmp_path / "run")
    try:
        has = Inventory(host="h", system="s", cores=1, memory_bytes=1, disk_bytes=1, gpus=(), walltime_left_s=None,
                        versions={})
        failed = Failed(operator="count", replica=0, facts={}, sent={}, received={}, error="E", text="e", place="")
        words: dict[str, list[Message]] = {
            "other": [Joined(site="far", pid=1, has=has), Beat(site="far"), ClusterUp(site="far", address="tls://1"),
                      failed],
            "far": [Joined(site="far", pid=1, has=has), Beat(site="far")]}
        for agent, said in words.items():
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.IDENTITY, agent.encode())
                socket.connect(master._control.getsockopt_string(zmq.LAST_ENDPOINT))
                for one in said:
                    socket.send(encode(one))
                    assert master._control.poll(5000)
                    master._listen(master._control)
        master._hear_news(last=True)
        assert master.state.refused == 4
        (told,) = [entry.event for entry in read_log(tmp_path / "run" / EVENTS) if isinstance(entry.event, Refused)]
        assert (told.where, told.peer, told.count) == ("the control network", "other", 4)
        assert list(master.state.joined) == ["far"]
        assert master.state.workers["count", 0].failure is None
    finally:
        master.close()


def test_a_word_without_bounds_is_never_taken_in(tmp_path: Path) -> None:
    master = make_master(flow(), folder=tmp_path / "run")
    try:
        with zmq.Context() as context, context.socket(zmq.DEALER) as loud, context.socket(zmq.DEALER) as other:
            for socket in (loud, other):
                socket.setsockopt(zmq.LINGER, 0)
                socket.connect(master._control.getsockopt_string(zmq.LAST_ENDPOINT))
            loud.send(bytes(MAX_CONTROL_BYTES + 1))
            assert not master._control.poll(200)
            other.send(b"a word")
            assert master._control.poll(5000)
    finally:
        master.close()
