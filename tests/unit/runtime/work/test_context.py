from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.errors import OperatorFailed
from camlink.runtime.messages import Progress, WorkerSpec, decode, encode
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.host import NoScreen
from camlink.testing.toys import Slow

SPEC = {"operator": "replay", "replica": 0, "where": "m:f", "kind": "source", "parameters": {}, "inputs": (),
        "outputs": (), "provenance": {}}


def test_the_time_of_all_pauses_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = WorkerSpec(**SPEC, folder=str(tmp_path), sockets=str(tmp_path))
    context, at_s = WorkerContext(spec, NoScreen(), lambda: False), 10.0
    monkeypatch.setattr("camlink.runtime.work.context.time.monotonic", lambda: at_s)
    said = []
    for held, passed_s in ((False, 5.0), (True, 1.0), (True, 2.0), (False, 4.0), (True, 8.0)):
        context.hold(held)
        at_s += passed_s
        said.append(context.held_s())
    assert said == [0.0, 1.0, 3.0, 3.0, 11.0]


class Raced(WorkerContext):
    """The thread that listens sets `late` right after the operator's has read what was set before."""

    late: dict[str, Any] | None = None

    @property
    def wanted(self) -> dict[str, Any] | None:
        read = self._wanted
        if self.late is not None:
            self._wanted, self.late = self.late, None
        return read

    @wanted.setter
    def wanted(self, values: dict[str, Any] | None) -> None:
        self._wanted = values


def test_what_is_set_while_something_else_is_taken_over_is_not_lost(tmp_path: Path) -> None:
    context = Raced(WorkerSpec(**SPEC, folder=str(tmp_path), sockets=str(tmp_path)), NoScreen(), lambda: False)
    given = Slow()
    assert context.changed(given) is given
    context.wanted, context.late = {"sleep_s": 1.0}, {"sleep_s": 2.0}
    first = context.changed(given)
    second = context.changed(first)
    assert (first.sleep_s, second.sleep_s) == (1.0, 2.0)
    assert context.changed(second) is second


@pytest.fixture
def context(tmp_path: Path) -> WorkerContext:
    return WorkerContext(WorkerSpec(**SPEC, folder=str(tmp_path), sockets=str(tmp_path)), NoScreen(), lambda: False)


def test_a_number_of_numpy_is_a_fact_that_can_be_sent(context: WorkerContext) -> None:
    context.tell(error=np.float64(0.5), count=np.int32(3), good=np.True_)
    context.tell(lost={"late": np.int64(2)})  # type: ignore[dict-item]
    message = Progress(operator="a", replica=0, facts=context.facts, sent={}, received={})
    facts = decode(encode(message)).facts
    assert facts == {"error": 0.5, "count": 3, "good": True, "lost": {"late": 2}}
    assert [type(value) for value in facts.values()] == [float, int, bool, dict]


@pytest.mark.parametrize(("value", "why"), [
    (np.zeros(2), "a ndarray is no fact"), (object(), "a object is no fact"),
    ({"deep": [Path.cwd]}, "a method is no fact"), ("M\udcfcller.h5", "surrogates not allowed"),
    (1 << 70, "serialize")])
def test_what_is_no_fact_is_refused_where_it_is_told(context: WorkerContext, value: Any, why: str) -> None:
    with pytest.raises(OperatorFailed, match=rf"replay: tell\(x\): .*{why}"):
        context.tell(x=value)
    assert context.facts == {}
