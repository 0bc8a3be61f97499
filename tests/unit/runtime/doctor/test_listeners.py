from __future__ import annotations

from typing import Any

import pytest

from camlink.runtime.doctor.listeners import _role

PYTHON = ["/usr/bin/python3", "-m", "camlink.runtime.process"]


class Process:
    """What a process was started with."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def cmdline(self) -> list[str]:
        return self._words


@pytest.mark.parametrize(("words", "role"), [
    ([*PYTHON, "worker", "ipc:///tmp/camlink-1-a/agent-here", "solve/0/0"], "worker solve/0/0"),
    ([*PYTHON, "agent", "ipc:///tmp/camlink-1-a/master", "here", "/tmp/camlink-1-a"], "agent here"),
    (["/usr/bin/python3", "/usr/bin/camlink", "run", "flow.yaml", "--exit"], "run flow.yaml")])
def test_a_process_is_called_by_what_it_is_in_its_run(words: list[str], role: str) -> None:
    process: Any = Process(words)
    assert _role(process) == role
