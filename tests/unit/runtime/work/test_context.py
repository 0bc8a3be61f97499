from __future__ import annotations

from pathlib import Path

import pytest

from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.host import NoScreen


def test_the_time_of_all_pauses_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = WorkerSpec(operator="replay", replica=0, where="m:f", kind="source", parameters={}, inputs=(), outputs=(),
                      folder=str(tmp_path), sockets=str(tmp_path), provenance={})
    context, at_s = WorkerContext(spec, NoScreen(), lambda: False), 10.0
    monkeypatch.setattr("camlink.runtime.work.context.time.monotonic", lambda: at_s)
    said = []
    for held, passed_s in ((False, 5.0), (True, 1.0), (True, 2.0), (False, 4.0), (True, 8.0)):
        context.hold(held)
        at_s += passed_s
        said.append(context.held_s())
    assert said == [0.0, 1.0, 3.0, 3.0, 11.0]
