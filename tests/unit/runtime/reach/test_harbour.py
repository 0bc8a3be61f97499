"""The keys of links live short and are renewed in time, with the same identities."""

from __future__ import annotations

import pytest

from camlink.carry.far.crossing import Passage
from camlink.carry.far.ticket import RelayKey
from camlink.clock import now_s
from camlink.runtime.reach import harbour
from camlink.runtime.reach.harbour import LEASE_S, Harbour


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
