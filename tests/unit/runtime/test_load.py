from __future__ import annotations

import pytest

from camlink.runtime.load import Load
from camlink.runtime.status import LinkStatus, OperatorStatus, RunStatus
from camlink.workflow.elastic import Elastic

TICK_S = 0.1


class Work:
    """Frames that come at one rate and are worked on at another, by replicas that join and leave when asked."""

    def __init__(self, elastic: Elastic, replicas: int = 1, room: int = 64) -> None:
        self.load, self.replicas, self.room = Load({"work": elastic}), replicas, room
        self.at = self.come = self.done = 0.0
        self.asked: list[int] = []

    def go_on(self, seconds: float, come_per_s: float, each_per_s: float) -> list[int]:
        """How many replicas were asked for meanwhile."""
        self.asked = []
        for _ in range(round(seconds / TICK_S)):
            self.at += TICK_S
            self.come += come_per_s * TICK_S
            self.done = min(self.come, self.done + each_per_s * self.replicas * TICK_S)
            status = RunStatus(
                version=1, workflow="w",
                operators=(OperatorStatus(name="work", use="u", kind="transform", site="here", state="running",
                                          replicas=self.replicas),),
                links=(LinkStatus(name="in", source="source", target="work", sent=int(self.come),
                                  acknowledged=int(self.done)),))
            for order in self.load.look(status, self.at):
                self.asked.append(order.replicas)
                self.replicas = min(order.replicas, self.room)
        return self.asked


def test_replicas_join_until_the_work_is_done_in_time_and_leave_when_it_is_little() -> None:
    work = Work(Elastic(1, 4, age_s=1.0, after_s=2.0, idle_s=5.0))
    assert work.go_on(30, come_per_s=100, each_per_s=40)[:2] == [2, 3]
    assert work.replicas >= 3
    assert work.done >= work.come - 100  # at most a second of work waits
    work.go_on(60, come_per_s=10, each_per_s=40)
    assert work.replicas == 1


def test_a_short_burst_and_a_steady_load_change_nothing() -> None:
    work = Work(Elastic(2, 4), replicas=2)
    assert work.go_on(60, come_per_s=70, each_per_s=40) == []
    assert work.go_on(1, come_per_s=200, each_per_s=40) == []
    assert work.go_on(60, come_per_s=0, each_per_s=40) == []


def test_nobody_leaves_whose_share_the_others_cannot_take_until_the_work_gets_lighter() -> None:
    work = Work(Elastic(1, 3, age_s=1.0, after_s=2.0, idle_s=5.0))
    assert work.go_on(25, come_per_s=100, each_per_s=40) == [2, 3]
    assert work.go_on(5, come_per_s=100, each_per_s=40) == []
    work.go_on(120, come_per_s=100, each_per_s=400)
    assert work.replicas == 1


def test_a_replica_for_which_there_is_no_room_is_asked_for_once() -> None:
    work = Work(Elastic(1, 8), room=2)
    assert work.go_on(120, come_per_s=1000, each_per_s=40) == [2, 3]


def test_work_that_stands_still_is_late() -> None:
    assert Work(Elastic(1, 2)).go_on(10, come_per_s=1, each_per_s=0) == [2]


@pytest.mark.parametrize(("elastic", "key"), [
    (Elastic(0), "min"), (Elastic(3, 2), "max"), (Elastic(1, 65), "max"), (Elastic(age_s=0), "age_s"),
    (Elastic(after_s=float("nan")), "after_s"), (Elastic(idle_s=1e9), "idle_s")])
def test_a_declaration_that_cannot_be_is_found(elastic: Elastic, key: str) -> None:
    assert list(elastic.faults()) == [key]
