from __future__ import annotations

import pytest

from camlink.carry.bench import far
from camlink.runtime.bench import control, dask, measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("case", ["control", *(pytest.param(case, marks=pytest.mark.full) for case in (
    "curve-tcp", "lanes", "relay", "ssh", "dask"))])
def test_a_case_of_sites_is_measured_and_checked(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    for place in (far, dask):
        monkeypatch.setattr(place, "ROUNDS", 1)
    monkeypatch.setattr(control, "TURNS", 100)
    record = measure(case)
    assert record["case"] == case
    assert record["checked"]
    assert record["figure"] > 0
    assert set(record["ratio"]) <= set(record["beside"]) | {"by hand, two to one"}
