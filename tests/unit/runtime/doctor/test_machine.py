from __future__ import annotations

from pathlib import Path

import pytest

from camlink.runtime.doctor import machine
from camlink.runtime.doctor.finding import graded


@pytest.mark.parametrize(("value", "state"), [(0.5, "refuse"), (1.5, "warn"), (2.0, "ok")])
def test_a_finding_is_graded_and_tells_what_to_do_only_when_it_is_not_good(value: float, state: str) -> None:
    row = graded("disk", value, "x", least=1.0, good=2.0, remedy="make room")
    assert (row.state, row.remedy) == (state, "" if state == "ok" else "make room")


def test_every_row_of_this_machine_says_what_was_found(tmp_path: Path) -> None:
    rows = list(machine.look_at_machine(tmp_path / "not" / "there", tmp_path))
    assert {"UDP receive buffer", "MTU", "disk", "memory", "shared memory", "clock", "GPU"} <= {r.what for r in rows}
    assert all(row.found for row in rows)
    assert all(row.remedy for row in rows if row.state != "ok")


def test_a_folder_for_sockets_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    assert machine.socket_folder(deep).state == "refuse"
    assert machine.socket_folder(tmp_path / "missing").state == "refuse"
