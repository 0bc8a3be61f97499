"""The event log: whole lines whatever the disk does, and of one run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from camlink.errors import InputError, StorageError
from camlink.runtime.events import AgentLost, Begin, Tick
from camlink.runtime.log import EventLog, read_log

Limit = Callable[[int], AbstractContextManager[None]]


def test_a_disk_that_was_full_for_a_while_costs_events_and_not_the_log(tmp_path: Path, files_of_at_most: Limit) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write(Begin(), 1.0)
    with files_of_at_most(path.stat().st_size + 20):
        for _ in range(2):
            with pytest.raises(StorageError, match=r"incomplete: (No space|File too large)"):
                log.write(AgentLost(site="here", text="a line of which a part finds room"), 2.0)
    log.write(Tick(), 3.0)
    log.close()
    assert [entry.at for entry in read_log(path)] == [1.0, 3.0]


def test_a_folder_takes_one_run_though_two_begin_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(InputError, match="holds a run already"):
        EventLog(tmp_path / "events.jsonl")
    log.close()
