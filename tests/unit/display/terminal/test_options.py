from __future__ import annotations

import pytest

from camlink.display.terminal.options import read_sets
from camlink.errors import InputError


def test_values_are_read_as_in_a_workflow_file() -> None:
    assert read_sets(["solve.beta=0.8", "twin.faults=drop-packets=0.01", "a.list=[1, 2e3]"]) == {
        "solve.beta": 0.8, "twin.faults": "drop-packets=0.01", "a.list": [1, 2000.0]}
    assert read_sets(None) == {}


@pytest.mark.parametrize("text", ["solve.beta", "beta=1", "=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"OPERATOR\.PARAMETER=VALUE"):
        read_sets([text])
