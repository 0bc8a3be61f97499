from __future__ import annotations

import pytest

from camlink.display.terminal.paper import paper


def test_a_long_line_in_a_pipe_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    paper().print("/folder" * 40)
    assert capsys.readouterr().out == "/folder" * 40 + "\n"
