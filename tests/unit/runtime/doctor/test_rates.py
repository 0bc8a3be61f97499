from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from camlink.runtime.doctor import rates
from camlink.runtime.messages import LinkSpec


def link(name: str, policy: str) -> LinkSpec:
    return LinkSpec(name=name, source="a", target="b", output="out", input="in", kind="shm", policy=policy,
                    limit_bytes=1)


def test_a_link_that_has_to_carry_more_than_it_can_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "link_rate", lambda kind, _: 100e6)
    monkeypatch.setattr(rates, "disk_rate", lambda _: 20e6)
    links = (link("fast", "block"), link("kept", "spill"), link("idle", "block"))
    rows = {row.what: row for row in rates.look_at_rates(tmp_path, tmp_path, links, {"fast": 80e6, "kept": 30e6})}
    assert [rows[f"link {name}"].state for name in ("fast", "kept", "idle")] == ["warn", "refuse", "ok"]
    assert "20 MB/s sustained" in rows["link kept"].found


@pytest.mark.parametrize("kind", ["shm", "zmq"])
def test_the_rate_of_a_real_link_is_measured(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MEASURE_S", 0.02)
    with tempfile.TemporaryDirectory(prefix="ct-") as short:
        assert rates.link_rate(kind, Path(short)) > 0  # type: ignore[arg-type]
        assert rates.disk_rate(Path(short)) > 0
