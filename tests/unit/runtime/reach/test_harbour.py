"""The keys of links live short and are renewed in time, with the same identities."""

from __future__ import annotations

from pathlib import Path

import pytest

from camlink.carry.far.crossing import Passage
from camlink.carry.far.ticket import RelayKey
from camlink.clock import now_s
from camlink.runtime.reach import harbour
from camlink.runtime.reach.dial import LOST_S
from camlink.runtime.reach.harbour import LEASE_S, Harbour
from camlink.runtime.states import FAR_SILENCE_S


def test_a_quarter_of_its_life_after_it_was_made_a_passage_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [now_s() + LEASE_S]
    monkeypatch.setattr(harbour, "now_s", lambda: now[0])
    made = Harbour("r", outside=("10.0.0.1:8786", RelayKey(bytes(32))))
    made.renew()
    first = Passage.opened(made.passage)
    now[0] += LEASE_S / 5
    assert not made.renew()
    now[0] += LEASE_S / 10
    assert made.renew()
    second = Passage.opened(made.passage)
    assert second.sender.until_s == second.receiver.until_s == now[0] + LEASE_S
    assert (second.sender.public, second.receiver.pins) == (first.sender.public, first.receiver.pins)
    assert not made.renew()
    made.close()


def test_a_way_to_what_somebody_offers_stays_until_somebody_else_does(tmp_path: Path) -> None:
    made, here = Harbour("r", outside=("127.0.0.1:9", RelayKey(bytes(32)))), tmp_path / "dask-0"
    made.call("dask there", here)
    (first,) = made._gates.values()
    made.call("dask there", here)
    assert list(made._gates.values()) == [first]
    made.call("dask there.next1", here)
    (second,) = made._gates.values()
    assert (second is first, second.path, here.stat().st_mode & 0o777) == (False, here, 0o600)
    made.close()
    assert not here.exists()


def test_whoever_misses_renewals_until_its_ticket_ends_was_given_up_long_before() -> None:
    """So nobody has to catch up when a relay comes back; who takes its place begins with a new ticket."""
    assert max(LOST_S, FAR_SILENCE_S) < LEASE_S / 4
