from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from camlink.runtime.messages import WorkerSpec
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
