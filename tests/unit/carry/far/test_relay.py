from __future__ import annotations

import socket
import time

import pytest

from camlink.carry.far import relay as relays
from camlink.carry.far.relay import Relay
from camlink.carry.far.ticket import RelayKey


def test_a_stranger_that_speaks_while_it_is_sent_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MOST_STRANGERS", 3)
    relay = Relay(RelayKey(b"k" * 32))
    host, _, port = relay.address.rpartition(":")
    dialled: list[socket.socket] = []

    def dial(several: int) -> None:
        dialled.extend(socket.create_connection((host, int(port))) for _ in range(several))

    dial(3)
    relay.turn(1)
    assert relay.facts["refused"] == 0
    dial(2)  # the first of these takes the place of the oldest, the second its number
    dialled[0].send(b"x")
    time.sleep(0.01)  # so that both are told in one round
    relay.turn(1)
    assert relay.facts["refused"] == 2
    relay.close()
    relay.run()
    for one in dialled:
        one.close()
