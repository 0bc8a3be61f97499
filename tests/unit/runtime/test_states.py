"""The state machine alone: events in, instructions out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from camlink.carry.account import Snapshot
from camlink.runtime.crew import MOST_RESTARTS, WorkerState
from camlink.runtime.events import (
    Adjust,
    AgentLost,
    Begin,
    Cancel,
    EndAgent,
    Instruction,
    Over,
    Pause,
    Scale,
    Send,
    StartAgent,
    Tick,
)
from camlink.runtime.log import EventLog, read_log
from camlink.runtime.messages import (
    Beat,
    Bye,
    Change,
    Connect,
    Cut,
    Detach,
    Done,
    Exited,
    Expect,
    Failed,
    Go,
    Hold,
    Inventory,
    Joined,
    Kill,
    Launch,
    Leave,
    Linked,
    LinkSpec,
    Lose,
    Message,
    Parted,
    Progress,
    Ready,
    SetAside,
    Stop,
    WorkerSpec,
)
from camlink.runtime.states import FAR_SILENCE_S, GRACE_S, PATIENCE_S, SILENCE_S, RunState
from camlink.runtime.watch import Watch, accounts, steps

NAMES = ("camera", "solve", "look")


def link(source: str, target: str) -> LinkSpec:
    return LinkSpec(name=f"{source}->{target}", source=source, target=target, output="out", input="in", kind="zmq",
                    policy="block", limit_bytes=100)


LINKS = {k.name: k for k in (link("camera", "solve"), link("solve", "look"))}


def new() -> RunState:
    workers = {}
    for name in NAMES:
        spec = WorkerSpec(
            operator=name, replica=0, where="m:f", kind={"camera": "source", "solve": "solver", "look": "view"}[name],
            parameters={}, folder="f", sockets="s", provenance={},
            inputs=tuple(k for k in LINKS.values() if k.target == name),
            outputs=tuple(k for k in LINKS.values() if k.source == name))
        workers[name, 0] = WorkerState(spec, "master" if name == "look" else "here")
    return RunState(workers, dict(LINKS))


def only(instructions: list[Instruction], kind: type[Any]) -> Any:
    (found,) = [i.message for i in instructions if isinstance(i, Send) and isinstance(i.message, kind)]
    return found


def joined(site: str) -> Joined:
    return Joined(site=site, pid=1, has=Inventory(host="h", system="s", cores=2, memory_bytes=1 << 30, gpus=(),
                                                  disk_bytes=1 << 30, walltime_left_s=None, versions={}))


def ready(name: str, attempt: int = 0, scheme: str = "ipc", replica: int = 0) -> Ready:
    return Ready(operator=name, replica=replica, attempt=attempt, pid=1,
                 addresses={k: f"{scheme}://{k}" for k in LINKS if k.startswith(name)})


def progress(kind: type[Progress], name: str, *, replica: int = 0, **more: Any) -> Progress:
    return kind(operator=name, replica=replica, facts={}, sent={}, received={}, **more)


def wait(state: RunState, until_s: float) -> list[Instruction]:
    """Let time pass as the master does, second by second, while all speak; what is done on the way."""
    told = []
    while (at := min(state.last_s + 1.0, until_s)) > state.last_s:
        for site in list(state.beats):
            told += state.handle(Beat(site=site), at)
        for (name, replica), worker in list(state.workers.items()):
            told += state.handle(progress(Progress, name, replica=replica, attempt=worker.spec.attempt), at)
        told += state.handle(Tick(), at)
    return told


def failed(name: str, **more: Any) -> Failed:
    return progress(Failed, name, error="E", text="boom", place="f.py:1", **more)  # type: ignore[return-value]


def messages(instructions: list[Instruction], kind: type[Message]) -> list[str]:
    return [i.worker.rpartition("/")[0] or i.site for i in instructions
            if isinstance(i, Send) and isinstance(i.message, kind)]


def started() -> RunState:
    state = new()
    for event in (Begin(), joined("here"), joined("master"), *map(ready, NAMES)):
        state.handle(event, 0.0)
    for source, name in (("camera", "camera->solve"), ("solve", "solve->look")):
        state.handle(Linked(operator=source, replica=0, link=name), 0.0)
    assert state.phase == "graph"
    return state


def test_the_four_steps_follow_each_other_only_when_all_are_there() -> None:
    state = new()
    assert state.handle(Begin(), 1.0) == [StartAgent("here"), StartAgent("master")]
    assert state.handle(joined("here"), 1.0) == []
    assert messages(state.handle(joined("master"), 1.0), Launch) == ["here", "here", "master"]
    assert [s.state for s in steps(state)] == ["done", "active", "waiting", "waiting"]
    state.handle(ready("solve"), 1.0)
    state.handle(ready("look"), 1.0)
    assert messages(state.handle(ready("camera"), 1.0), Connect) == ["solve/0", "look/0"]
    state.handle(Linked(operator="solve", replica=0, link="solve->look"), 1.0)
    go = state.handle(Linked(operator="camera", replica=0, link="camera->solve"), 2.0)
    assert messages(go, Go) == ["camera/0", "solve/0", "look/0"]
    assert state.graph_s == 2.0


def test_a_run_is_over_when_every_worker_is_done() -> None:
    state = started()
    assert state.handle(progress(Done, "camera"), 3.0) == []
    assert state.handle(progress(Done, "solve"), 3.0) == []
    last = state.handle(progress(Done, "look"), 4.0)
    assert messages(last, Bye) == ["here", "master"]
    assert last[-1] == Over()
    assert [s.state for s in steps(state)] == ["done"] * 4


def test_the_neighbours_of_a_worker_that_failed_for_good_are_told() -> None:
    state = started()
    told = state.handle(failed("solve", final=True), 3.0)
    assert messages(told, Detach) == ["camera/0"]
    assert messages(told, Cut) == ["look/0"]
    state.handle(progress(Done, "camera"), 3.0)
    assert state.handle(progress(Done, "look"), 3.0)[-1] == Over()


def died(name: str, attempt: int = 0, **more: Any) -> Exited:
    return Exited(operator=name, replica=0, code=-9, text="killed by SIGKILL", attempt=attempt, **more)


def test_a_worker_that_died_is_replaced_and_its_neighbours_meet_the_next_attempt() -> None:
    state = started()
    told = state.handle(died("solve"), 3.0)
    assert messages(told, Kill) == ["here"]  # whatever is left of it
    lose = only(told, Lose)
    assert (lose.link, lose.receiver, lose.reason) == ("camera->solve", "solve/0", "killed by SIGKILL")
    spec = only(told, Launch).spec
    assert (spec.attempt, spec.line, spec.first_sequence) == (1, "solve/0/1", 1000)
    met = state.handle(ready("solve", 1, "new"), 4.0)
    to_look, to_solve = (i.message for kind in ("look", "solve") for i in met
                         if isinstance(i, Send) and isinstance(i.message, Connect) and i.worker.startswith(kind))
    assert (to_look.addresses, to_look.gone) == (("new://solve->look",), ("ipc://solve->look",))
    assert (to_solve.addresses, to_solve.awaited) == (("ipc://camera->solve",), 0)
    assert state.workers["solve", 0].state == "ready"
    go = state.handle(Linked(operator="solve", replica=0, attempt=1, link="solve->look"), 4.5)
    assert messages(go, Go) == ["solve/0"]
    assert [(r.operator, r.reason, r.down_s, r.up_s) for r in state.restarts] == [
        ("solve", "killed by SIGKILL", 3.0, 4.5)]
    for name, attempt in (("camera", 0), ("solve", 1), ("look", 0)):
        last = state.handle(progress(Done, name, attempt=attempt), 5.0)
    assert last[-1] == Over()
    assert Watch("w", dict.fromkeys(NAMES, "u")).status(state, 5.0).reasons == ()


def test_a_worker_that_dies_when_all_of_its_output_has_arrived_sends_nothing_again() -> None:
    state = started()
    assert state.handle(Parted(operator="look", replica=0, link="solve->look", complete=True), 2.0) == []
    assert only(state.handle(died("solve"), 3.0), Launch).spec.outputs == ()
    assert messages(state.handle(ready("solve", 1), 4.0), Go) == ["solve/0"]


def test_what_an_earlier_attempt_still_says_changes_nothing() -> None:
    state = started()
    state.handle(died("solve"), 3.0)
    before = copy.deepcopy(state)
    for late in (progress(Done, "solve"), failed("solve"), died("solve"), ready("solve")):
        assert state.handle(late, 3.0) == []
    assert state == before


@pytest.mark.parametrize("last", [Done, Failed])
def test_a_heartbeat_that_is_overtaken_by_the_last_words_changes_nothing(last: type[Progress]) -> None:
    state = started()
    words = {"error": "ValueError", "text": "x", "place": "", "final": True} if last is Failed else {}
    for kind, sent, more in ((last, 9, words), (Progress, 7, {})):
        state.handle(kind(operator="camera", replica=0, facts={}, received={},
                          sent={"camera->solve": Snapshot(sent=sent)}, **more), 3.0)
    assert state.workers["camera", 0].sent["camera->solve"].sent == 9


def test_a_source_that_died_is_not_replaced_since_its_frames_do_not_come_again() -> None:
    state = started()
    assert messages(state.handle(died("camera"), 3.0), Launch) == []
    assert state.workers["camera", 0].state == "failed"
    status = Watch("w", dict.fromkeys(NAMES, "u")).status(state, 3.0)
    assert "camera: killed by SIGKILL" in status.reasons


def test_a_worker_without_a_whole_journal_is_not_replaced() -> None:
    state = started()
    state.handle(progress(Progress, "solve", unkept="disk full"), 2.0)
    assert messages(state.handle(died("solve"), 3.0), Launch) == []


def test_restarts_are_bounded_in_number_a_minute() -> None:
    state = started()
    for attempt in range(MOST_RESTARTS):
        assert messages(state.handle(died("solve", attempt), 3.0 + attempt), Launch) == ["here"]
        assert messages(state.handle(Tick(), 3.0 + attempt), Launch) == []
    last = state.handle(died("solve", MOST_RESTARTS), 10.0)
    assert messages(last, Launch) == []
    assert messages(last, Detach) == ["camera/0"]
    assert "given up after 5 restarts in 60 s" in state.workers["solve", 0].text


def test_a_block_that_ends_everybody_who_tries_it_is_set_aside() -> None:
    state = started()
    state.handle(failed("solve", holding="camera toy frame 3+1"), 3.0)
    state.handle(ready("solve", 1), 3.5)
    spec = only(state.handle(failed("solve", attempt=1, holding="camera toy frame 3+1"), 4.0), Launch).spec
    assert spec.set_aside == {"camera toy frame 3+1": "boom"}
    again = started()
    for attempt in range(2):  # without a word: another cause is possible, so once more
        assert not only(again.handle(died("solve", attempt, holding="k"), 3.0), Launch).spec.set_aside
    assert only(again.handle(died("solve", 2, holding="k"), 3.0), Launch).spec.set_aside == {"k": "killed by SIGKILL"}


def test_a_worker_that_somebody_stopped_is_killed_and_replaced_at_once() -> None:
    state = started()
    told = state.handle(Beat(site="here", stopped=("solve/0/0", "camera/0/0")), 3.0)
    assert [i.worker or i.site for i in told if isinstance(i, Send) and isinstance(i.message, Kill)] == [
        "solve/0/0", "here", "here"]
    assert only(told, Launch).spec.line == "solve/0/1"


def test_code_that_works_without_a_word_is_killed_and_what_it_held_is_set_aside_at_the_second_time() -> None:
    state, at = started(), 3.0
    for attempt in range(2):
        state.handle(Beat(site="here"), at)
        told = state.handle(progress(Progress, "solve", attempt=attempt, busy_s=301.0), at)
        assert "without a word" in only(told, Lose).reason
        spec = only(told, Launch).spec
        told = state.handle(died("solve", attempt, holding="k"), at + 0.1)  # the agent tells of it afterwards
        for event in (ready("solve", attempt + 1), Linked(operator="solve", replica=0, attempt=attempt + 1,
                                                         link="solve->look")):
            told += state.handle(event, at + 1.0)
        at += 2.0
    assert spec.set_aside == {}
    assert state.workers["solve", 0].spec.set_aside == {"k": "its code worked for 300 s without a word"}
    assert only(told, SetAside).key == "k"
    assert state.workers["solve", 0].state == "running"


def test_frames_that_the_next_attempt_does_not_find_again_are_counted_as_forgotten() -> None:
    state = started()
    solve = state.workers["solve", 0]
    state.handle(progress(Progress, "solve", remembered=100), 2.0)
    state.handle(died("solve"), 3.0)
    state.handle(progress(Progress, "solve", attempt=1, remembered=30, recalled=-1), 3.5)
    assert solve.forgotten == 0  # it still reads
    state.handle(died("solve", 1), 3.6)
    state.handle(progress(Progress, "solve", attempt=2, remembered=90, recalled=60), 4.0)
    assert solve.forgotten == 40
    state.handle(died("solve", 2), 5.0)
    state.handle(progress(Progress, "solve", attempt=3, remembered=95, recalled=95), 6.0)
    assert solve.forgotten == 40


def test_an_attempt_that_dies_before_it_looks_into_its_journal_has_forgotten_nothing() -> None:
    state = started()
    solve = state.workers["solve", 0]
    state.handle(progress(Progress, "solve", remembered=100), 2.0)
    state.handle(died("solve"), 3.0)
    state.handle(progress(Progress, "solve", attempt=1), 3.5)
    state.handle(died("solve", 1), 3.6)
    state.handle(progress(Progress, "solve", attempt=2, remembered=100, recalled=100), 4.0)
    assert solve.forgotten == 0


def test_a_pause_and_other_parameters_hold_for_the_next_attempt_too() -> None:
    state = started()
    assert messages(state.handle(Pause(who="Anna"), 3.0), Hold) == ["camera/0"]
    assert messages(state.handle(Adjust(operator="solve", parameters={"beta": 0.5}), 3.1), Change) == ["solve/0"]
    spec = only(state.handle(died("solve"), 4.0), Launch).spec
    assert spec.parameters["beta"] == 0.5
    assert [(type(order), order.who) for _, order in state.orders] == [(Pause, "Anna"), (Adjust, "")]


def test_replicas_join_and_leave_while_the_graph_runs() -> None:
    state = started()
    told = state.handle(Scale(operator="solve", replicas=2), 3.0)
    spec = only(told, Launch).spec
    assert (spec.line, spec.first_sequence) == ("solve/1/0", 1 << 40)
    assert only(told, Expect).receivers == 2
    met = state.handle(Ready(operator="solve", replica=1, pid=1, addresses={"solve->look": "ipc://two"}), 4.0)
    assert messages(met, Connect) == ["solve/1", "look/0"]
    go = state.handle(Linked(operator="solve", replica=1, link="solve->look"), 4.1)
    assert messages(go, Go) == ["solve/1"]
    assert messages(state.handle(Scale(operator="solve", replicas=1), 5.0), Leave) == ["solve/1"]
    left = state.handle(Done(operator="solve", replica=1, facts={}, sent={}, received={}), 6.0)
    assert only(left, Expect).receivers == 1
    assert messages(left, Detach) == []


def test_a_replica_that_is_ended_while_it_leaves_keeps_nobody_waiting() -> None:
    state = started()
    state.handle(Scale(operator="solve", replicas=2), 3.0)
    state.handle(Ready(operator="solve", replica=1, pid=1, addresses={"solve->look": "ipc://two"}), 4.0)
    state.handle(Linked(operator="solve", replica=1, link="solve->look"), 4.1)
    state.handle(Scale(operator="solve", replicas=1), 5.0)
    sent = {"solve->look": Snapshot(offered=9, kept=2, sent=9, acknowledged=7)}
    state.handle(Progress(operator="solve", replica=1, facts={}, sent=sent, received={}), 5.1)
    gone = state.handle(Exited(operator="solve", replica=1, code=-9, text="killed by SIGKILL"), 6.0)
    assert (only(gone, Lose).receiver, only(gone, Cut).address) == ("solve/1", "ipc://two")
    assert only(gone, Expect).receivers == 1
    there = {"solve->look": Snapshot(received=8, acknowledged=8)}
    state.handle(Progress(operator="look", replica=0, facts={}, sent={}, received=there), 6.1)
    assert accounts(state, LINKS["solve->look"])[0].sent == 8  # what did not arrive the other one sends


def test_nobody_waits_for_a_replica_that_was_given_up_before_it_had_an_address() -> None:
    state = started()
    state.handle(Scale(operator="solve", replicas=2), 3.0)
    state.handle(died("look"), 4.0)
    assert only(state.handle(ready("look", 1), 5.0), Connect).awaited == 1
    told = state.handle(failed("solve", replica=1, final=True), 6.0)
    assert only(told, Connect).awaited == 0


def test_a_sender_that_comes_again_expects_those_that_are_there_by_then() -> None:
    state = started()
    camera = state.workers["camera", 0]
    camera.spec = msgspec.structs.replace(camera.spec, resumes=True)
    state.handle(Scale(operator="solve", replicas=2), 3.0)
    state.handle(Ready(operator="solve", replica=1, pid=1, addresses={"solve->look": "ipc://two"}), 3.5)
    spec = only(state.handle(died("camera"), 4.0), Launch).spec
    assert [link.receivers for link in spec.outputs] == [2]
    state.handle(Scale(operator="solve", replicas=1), 4.1)
    state.handle(progress(Done, "solve", replica=1), 4.2)
    assert only(state.handle(ready("camera", 1), 5.0), Expect).receivers == 1


def test_an_agent_that_is_silent_is_ended() -> None:
    state = started()
    told: list[Instruction] = []
    for tenth in range(1, 60):
        for name in NAMES:
            told += state.handle(progress(Progress, name), tenth / 10)
        told += state.handle(Beat(site="master"), tenth / 10)
        told += state.handle(Tick(), tenth / 10)
    assert [i.site for i in told if isinstance(i, EndAgent)] == ["here"]


def test_an_agent_that_wakes_up_while_it_is_ended_costs_its_workers_no_second_restart() -> None:
    state = started()
    told: list[Instruction] = []
    for second in range(1, 7):
        told += state.handle(Beat(site="master"), float(second)) + state.handle(Tick(), float(second))
    assert EndAgent in [type(i) for i in told]
    told = state.handle(Beat(site="here"), 6.5) + state.handle(Tick(), 6.5)
    assert [i for i in told if isinstance(i, Send) and isinstance(i.message, Launch)] == []


def test_a_far_agent_may_be_silent_for_longer_and_come_later() -> None:
    state = started()
    state.far = frozenset({"here"})
    told: list[Instruction] = []
    for tenth in range(1, int(FAR_SILENCE_S * 10) + 5):
        told += state.handle(Beat(site="master"), tenth / 10)
        told += state.handle(Tick(), tenth / 10)
        if tenth == int(FAR_SILENCE_S * 10) - 10:
            assert not [i for i in told if isinstance(i, EndAgent)]
            assert not [i for i in told if isinstance(i, Send) and i.site == "here" and isinstance(i.message, Kill)]
    assert [i.site for i in told if isinstance(i, EndAgent)] == ["here"]
    waiting = RunState(state.workers, state.links, queue_s=100.0)
    waiting.handle(Begin(), 0.0)
    for second in range(1, int(PATIENCE_S["resources"]) + 90):
        waiting.handle(Tick(), float(second))
        assert not waiting.broke, second


def test_a_master_that_was_away_itself_blames_nobody() -> None:
    state = started()
    assert state.handle(Tick(), 1000.0) == []
    assert {w.state for w in state.workers.values()} == {"running"}
    state.handle(Cancel(reason="Ctrl-C"), 1000.5)
    for name in NAMES[:2]:  # what they said meanwhile is heard one by one
        assert state.handle(progress(Done, name), 1040.0) == []
    assert state.handle(progress(Done, NAMES[2]), 1040.0)[-1] == Over()
    assert {w.state for w in state.workers.values()} == {"ended"}
    early = new()
    early.handle(Begin(), 0.0)
    assert early.handle(joined("here"), 1000.0) == []
    assert not early.broke


def test_a_stop_without_a_reason_is_a_stop() -> None:
    early, state = new(), started()
    early.handle(Begin(), 0.0)
    assert early.handle(Cancel(reason=""), 0.0)[-1] == Over()
    state.handle(died("solve"), 3.0)
    state.handle(Cancel(reason=""), 3.1)
    assert messages(state.handle(ready("solve", 1), 3.5), Stop) == ["solve/0"]


def test_the_last_words_of_an_agent_that_is_gone_do_not_make_it_silent() -> None:
    state = started()
    state.handle(AgentLost(site="here", text="the agent died"), 3.0)
    state.handle(Beat(site="here"), 3.0)
    told: list[Instruction] = []
    for second in range(4, 12):
        told += state.handle(Beat(site="master"), float(second))
    assert not [i for i in told if isinstance(i, EndAgent)]


def test_the_exit_after_done_is_no_failure() -> None:
    state = started()
    state.handle(progress(Done, "solve"), 3.0)
    state.handle(Exited(operator="solve", replica=0, code=0), 3.0)
    assert state.workers["solve", 0].state == "ended"


@pytest.mark.parametrize("phase", ["resources", "services", "network"])
def test_every_wait_before_the_start_is_bounded_and_says_for_whom(phase: str) -> None:
    state = new()
    state.handle(Begin(), 0.0)
    if phase != "resources":
        state.handle(joined("here"), 0.0)
        state.handle(joined("master"), 0.0)
    if phase == "network":
        for name in NAMES:
            state.handle(ready(name), 0.0)
    assert state.phase == phase
    assert not wait(state, PATIENCE_S[phase])
    last = state.handle(Tick(), PATIENCE_S[phase] + 0.1)
    assert last[-1] == Over()
    missing = {"resources": "here", "services": "camera, solve, look", "network": "camera->solve"}[phase]
    assert missing in state.troubles[0]


def test_a_worker_that_fails_before_the_start_ends_the_run_with_its_reason() -> None:
    state = new()
    for event in (Begin(), joined("here"), joined("master")):
        state.handle(event, 0.0)
    last = state.handle(failed("camera"), 0.0)
    assert state.troubles == ["camera: boom"]
    assert sorted(messages(last, Kill)) == ["here", "look/0", "master", "solve/0"]
    assert {name: worker.given_up for (name, _), worker in state.workers.items()} == {
        "camera": False, "solve": True, "look": True}
    assert last[-1] == Over()


def test_ctrl_c_is_graceful_first_and_then_has_no_more_patience() -> None:
    state = started()
    assert messages(state.handle(Cancel(reason="Ctrl-C"), 5.0), Stop) == ["camera/0", "solve/0", "look/0"]
    assert wait(state, 5.0 + GRACE_S - 0.1) == []
    last = state.handle(Tick(), 5.0 + GRACE_S)
    assert len(messages(last, Kill)) == 6
    assert last[-1] == Over()
    again = started()
    again.handle(Cancel(reason="Ctrl-C"), 5.0)
    assert again.handle(Cancel(reason="Ctrl-C", force=True), 5.1)[-1] == Over()


def test_a_silent_worker_is_killed_and_replaced() -> None:
    state = started()
    told: list[Instruction] = []
    for tenth in range(1, int(SILENCE_S * 10) + 2):
        for name in ("camera", "look"):
            told += state.handle(progress(Progress, name), tenth / 10)
        for site in ("here", "master"):
            told += state.handle(Beat(site=site), tenth / 10)
        told += state.handle(Tick(), tenth / 10)
    assert messages(told, Kill) == ["solve/0", "here", "here"]
    assert messages(told, Launch) == ["here"]


def test_the_workers_of_a_lost_agent_wait_for_its_successor_and_go_on_there() -> None:
    state = started()
    lost = state.handle(AgentLost(site="here", text="the agent died"), 3.0)
    assert [i for i in lost if not isinstance(i, Send)] == [StartAgent("here.next1")]
    assert [w.state for w in state.workers.values()] == ["failed", "waiting", "running"]  # that camera cannot resume
    assert messages(lost, Launch) == []
    launched = state.handle(joined("here.next1"), 5.0)
    assert messages(launched, Launch) == ["here.next1"]
    assert only(launched, Launch).spec.line == "solve/0/1"
    met = state.handle(ready("solve", 1, "new"), 6.0)
    assert [i.site for i in met if isinstance(i, Send) and i.worker == "solve/0/1"] == ["here.next1"]
    assert messages(met, Cut) == []


def test_a_replica_leaves_before_the_time_of_its_agent_ends_when_no_successor_comes_and_another_stays() -> None:
    state = new()
    state.succession.margins = {"short": 20.0}
    solve = state.workers["solve", 0]
    state.workers["solve", 1] = WorkerState(msgspec.structs.replace(solve.spec, replica=1), "short")
    timed = Joined(site="short", pid=1, has=msgspec.structs.replace(joined("short").has, walltime_left_s=60.0))
    for event in (Begin(), joined("here"), timed, joined("master"), *map(ready, NAMES), ready("solve", replica=1)):
        state.handle(event, 0.0)
    for source, replica, name in (("camera", 0, "camera->solve"), ("solve", 0, "solve->look"),
                                  ("solve", 1, "solve->look")):
        state.handle(Linked(operator=source, replica=replica, link=name), 0.0)

    def later(at: float) -> list[Instruction]:
        said = [progress(Progress, worker.spec.operator, replica=worker.spec.replica)
                for worker in state.workers.values()]
        return [i for event in (*(Beat(site=site) for site in state.beats), *said) for i in state.handle(event, at)]

    told = {at: said for step in range(101) if (said := later(at := step / 2))}
    assert list(told) == [40.0, 50.0]
    assert told[40.0] == [StartAgent("short.next1")]  # it stands in a queue
    assert told[50.0] == [Send("short", Leave(), "solve/1/0")]
    state.handle(progress(Done, "solve", replica=1), 55.0)
    assert messages(state.handle(AgentLost(site="short", text="its time is over"), 60.0), Launch) == []
    assert [w.state for w in state.workers.values()] == ["running", "running", "running", "ended"]
    assert messages(later(200.0), Leave) == []


def test_before_the_time_of_an_agent_ends_its_workers_go_on_at_its_successor() -> None:
    state = new()
    state.succession.margins = {"here": 20.0}
    there = joined("here")
    timed = Joined(site="here", pid=1, has=msgspec.structs.replace(there.has, walltime_left_s=60.0))
    for event in (Begin(), timed, joined("master"), *map(ready, NAMES)):
        state.handle(event, 0.0)
    for source, name in (("camera", "camera->solve"), ("solve", "solve->look")):
        state.handle(Linked(operator=source, replica=0, link=name), 0.0)
    told: list[Instruction] = []
    at = 0.0
    while not told:
        at += 1.0
        beats = (*(progress(Progress, name) for name in NAMES), Beat(site="here"), Beat(site="master"))
        told = [i for beat in beats for i in state.handle(beat, at)]
    assert (told, at) == ([StartAgent("here.next1")], 40.0)
    (kill,) = state.handle(joined("here.next1"), 45.0)  # the solver; this camera has to stay where it is
    assert isinstance(kill, Send)
    assert (kill.site, kill.message) == ("here", Kill(operator="solve", replica=0, attempt=0))
    moved = state.handle(died("solve", holding="k"), 45.1)
    assert (messages(moved, Launch), state.strikes) == (["here.next1"], {})
    assert "soon ends" in state.restarts[0].reason
    assert messages(state.handle(progress(Done, "camera"), 46.0), Bye) == ["here"]
    assert state.handle(AgentLost(site="here", text="ended with code 0"), 46.5) == []
    assert state.succession.losses == {}


def handing_on() -> RunState:
    """A successor has come, and the solver was told to end so that it goes on there."""
    state = started()
    state.succession.margins = {"here": 20.0}
    state.succession.joined("here", 22.0, 0.0)
    for tenth in range(1, 120):
        for event in (*(progress(Progress, name) for name in NAMES), Beat(site="here"), Beat(site="master")):
            state.handle(event, tenth / 10)
    assert state.succession.asked
    assert messages(state.handle(joined("here.next1"), 12.0), Kill) == ["here"]
    return state


def test_a_successor_that_is_lost_before_anybody_has_moved_there_is_followed_by_another_one() -> None:
    state = handing_on()
    lost = state.handle(AgentLost(site="here.next1", text="killed"), 12.1)
    assert [i.site for i in lost if isinstance(i, StartAgent)] == ["here.next2"]
    assert messages(state.handle(died("solve"), 12.2), Launch) == []
    assert state.workers["solve", 0].state == "waiting"
    assert messages(state.handle(joined("here.next2"), 13.0), Launch) == ["here.next2"]


@pytest.mark.parametrize("how", ["raised", "stopped"])
def test_who_ends_otherwise_while_it_is_to_move_goes_on_at_the_successor_too(how: str) -> None:
    state = handing_on()
    told = state.handle(failed("solve") if how == "raised" else Beat(site="here", stopped=("solve/0/0",)), 12.1)
    assert only(told, Launch).spec.line == "solve/0/1"
    assert messages(told, Launch) == ["here.next1"]
    assert messages(state.handle(died("solve"), 12.2), Launch) == []
    assert messages(state.handle(progress(Done, "camera"), 13.0), Bye) == ["here"]


def test_a_replica_that_comes_when_nobody_listens_any_more_does_not_wait_for_him() -> None:
    state = started()
    state.handle(Scale(operator="solve", replicas=2), 3.0)
    state.handle(Ready(operator="solve", replica=1, pid=1, addresses={"solve->look": "ipc://two"}), 4.0)
    told = state.handle(Parted(operator="look", replica=0, link="solve->look", complete=True), 4.0)
    assert [i.worker for i in told if isinstance(i, Send) and isinstance(i.message, Detach)] == ["solve/1/0"]


def test_a_successor_that_does_not_come_is_asked_for_again_and_then_no_more() -> None:
    state, at, asked = started(), 3.0, []
    told = state.handle(AgentLost(site="here", text="the agent died"), at)
    while state.workers["solve", 0].state == "waiting":
        asked += [i.site for i in told if isinstance(i, StartAgent)]
        state.handle(Beat(site="master"), at)
        state.handle(progress(Progress, "look"), at)
        at += 1.0
        told = state.handle(Tick(), at)
        assert at < 200.0
    assert asked == ["here.next1", "here.next2", "here.next3"]
    assert state.workers["solve", 0].state == "failed"
    assert "did not come in 30 s" in state.workers["solve", 0].text
    (cut,) = [i.message for i in told if isinstance(i, Send) and isinstance(i.message, Connect)]
    assert (cut.gone, cut.awaited) == (("ipc://solve->look",), 0)  # nobody waits for what will never come


def test_a_source_that_resumes_is_replaced() -> None:
    state = started()
    camera = state.workers["camera", 0]
    camera.spec = msgspec.structs.replace(camera.spec, resumes=True)
    assert only(state.handle(died("camera"), 3.0), Launch).spec.line == "camera/0/1"


def test_a_done_that_died_with_its_agent_is_said_again_and_counted_once() -> None:
    state = started()
    state.handle(Progress(operator="solve", replica=0, facts={}, received={},
                          sent={"solve->look": Snapshot(sent=3, acknowledged=3)}), 2.0)
    state.handle(AgentLost(site="here", text="the agent died"), 3.0)
    state.handle(joined("here.next1"), 4.0)
    state.handle(Done(operator="solve", replica=0, attempt=1, repeats=0, facts={"n": 1}, received={},
                      sent={"solve->look": Snapshot(sent=5, acknowledged=5)}), 5.0)
    solve = state.workers["solve", 0]
    assert (solve.state, solve.facts, solve.past_sent, state.restarts[0].up_s) == ("ended", {"n": 1}, {}, 5.0)


def test_the_log_replays_to_the_same_state(tmp_path: Path) -> None:
    events: list[Message] = [
        Begin(), joined("here"), joined("master"), *map(ready, NAMES),
        Linked(operator="camera", replica=0, link="camera->solve"),
        Linked(operator="solve", replica=0, link="solve->look"),
        Progress(operator="solve", replica=0, facts={"n": 1}, sent={"solve->look": Snapshot(sent=3, ages={4: 1})},
                 received={}),
        failed("solve"), Exited(operator="solve", replica=0, code=1, text="x"), Cancel(reason="Ctrl-C"), Tick(),
        progress(Done, "camera"), progress(Done, "look")]
    log, state = EventLog(tmp_path / "log"), new()
    first = []
    for at, event in enumerate(events):
        first.append(state.handle(event, float(at)))
        log.write(event, float(at))
    log.close()
    whole = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(whole + b'{"at": 99, "ev')  # a crash cut the last line
    again = new()
    assert [again.handle(e.event, e.at) for e in read_log(tmp_path / "log")] == first
    assert again == state


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: no exception, nothing goes back, and time alone brings the end."""

    def __init__(self) -> None:
        super().__init__()
        self.state = new()
        self.at = 0.0
        self.say(Begin())

    def say(self, event: Message) -> None:
        before = self.state.phase
        out = self.state.handle(event, self.at)
        order = ("resources", "services", "network", "graph", "closing", "over")
        assert order.index(self.state.phase) >= order.index(before)
        assert (Over() in out) == (self.state.phase == "over" and before != "over")

    @rule(site=st.sampled_from(["here", "master"]))
    def join(self, site: str) -> None:
        self.say(joined(site))

    @precondition(lambda self: self.state.phase not in ("resources", "over"))
    @rule(name=st.sampled_from(NAMES), late=st.booleans(),
          kind=st.sampled_from(["ready", "linked", "parted", "progress", "done", "failed", "exited"]))
    def worker(self, name: str, kind: str, late: bool) -> None:
        attempt = 0 if late else self.state.workers[name, 0].spec.attempt
        link = next(iter(ready(name).addresses), "none")
        made: dict[str, Message] = {
            "ready": ready(name, attempt), "progress": progress(Progress, name, attempt=attempt),
            "done": progress(Done, name, attempt=attempt), "failed": failed(name, attempt=attempt, holding="k"),
            "exited": Exited(operator=name, replica=0, code=1, attempt=attempt, holding="k"),
            "linked": Linked(operator=name, replica=0, attempt=attempt, link=link),
            "parted": Parted(operator=name, replica=0, attempt=attempt, link=link, complete=late)}
        self.say(made[kind])

    @rule(site=st.sampled_from(["here", "master"]), name=st.sampled_from(NAMES))
    def beat(self, site: str, name: str) -> None:
        self.say(Beat(site=site, stopped=(self.state.workers[name, 0].spec.line,)))

    @rule(replicas=st.integers(1, 3))
    def scale(self, replicas: int) -> None:
        self.say(Scale(operator="solve", replicas=replicas))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.say(Pause(paused=paused))

    @rule(value=st.integers(0, 3))
    def adjust(self, value: int) -> None:
        self.say(Adjust(operator="solve", parameters={"value": value}))

    @invariant()
    def replicas_have_the_same_parameters(self) -> None:
        assert len({repr(w.spec.parameters) for w in self.state.at("solve")}) == 1

    @rule(seconds=st.sampled_from([0.1, 5.0, 30.0]), away=st.booleans())
    def wait(self, seconds: float, away: bool) -> None:
        for _ in range(1 if away else max(1, round(seconds))):
            self.at += seconds if away else 1.0
            self.say(Tick())

    @rule(force=st.booleans())
    def cancel(self, force: bool) -> None:
        self.say(Cancel(reason="Ctrl-C", force=force))

    @rule(site=st.sampled_from(["here", "here.next1", "here.next2", "master"]))
    def lose(self, site: str) -> None:
        self.say(AgentLost(site=site, text="gone"))

    @precondition(lambda self: self.state.succession.asked)
    @rule()
    def come(self) -> None:
        self.say(joined(next(iter(self.state.succession.asked))))

    @invariant()
    def who_waits_in_the_graph_waits_for_an_agent_that_was_asked_for(self) -> None:
        for worker in self.state.workers.values():
            if self.state.phase == "graph" and worker.state == "waiting":
                assert worker.site in self.state.succession.asked

    @invariant()
    def restarts_are_bounded_and_an_attempt_is_never_launched_twice(self) -> None:
        for worker in self.state.workers.values():
            assert worker.spec.attempt == len(worker.restarts)
            assert len([then for then in worker.restarts if self.at - then < 60]) <= MOST_RESTARTS

    @invariant()
    def status_can_be_drawn(self) -> None:
        assert Watch("w", dict.fromkeys(NAMES, "u")).status(self.state, self.at).steps

    def teardown(self) -> None:
        self.say(Cancel(reason="end"))
        self.wait(20.0, away=False)
        assert self.state.phase == "over"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
