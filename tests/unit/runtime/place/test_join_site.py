"""A site by hand: its tickets go on with the run, whatever becomes of the file of the relay's secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from camlink.carry.far.keys import LIFE_S
from camlink.carry.far.ticket import RelayKey
from camlink.clock import now_s
from camlink.runtime.place import join_site
from camlink.runtime.place.join_site import JoinOptions, JoinPlacer


def test_a_ticket_is_renewed_though_the_secret_of_the_relay_is_in_its_file_no_more(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "relay.key"
    RelayKey.make(secret)
    placer = JoinPlacer("there", JoinOptions("127.0.0.1:9", secret), tmp_path, 0, "run")
    placer.start(f"ipc://{tmp_path}/master")
    try:
        assert placer._gate is not None
        secret.unlink()
        first = placer._gate.ticket
        monkeypatch.setattr(join_site, "now_s", lambda: now_s() + LIFE_S / 2)
        assert len(placer.news()) == 1
        assert placer._gate.ticket is not first
    finally:
        placer.close()
    assert not (tmp_path / "keys" / "there").exists()
