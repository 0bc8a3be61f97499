"""A passage is renewed: gates dial with the newest ticket, at the relay as this machine reaches it."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
import zmq

from camlink.carry.far import crossing as crossing_module
from camlink.carry.far.crossing import Crossing, Passage
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER
from camlink.carry.far.ticket import RelayKey
from camlink.errors import InputError

KEY = RelayKey(bytes(32))


def passage(life_s: float) -> Passage:
    keys = make_keys("r", {SENDER: [RECEIVER], RECEIVER: [SENDER]}, life_s)
    return Passage(keys[SENDER], keys[RECEIVER], KEY.ticket("10.0.0.1:1", "r", "offer", life_s),
                   KEY.ticket("10.0.0.1:1", "r", "call", life_s))


def test_a_newer_passage_takes_the_place_of_an_older_one_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing_module, "LAST_BYTES_S", 0)
    older, first, newer = (passage(life_s) for life_s in (10, 60, 120))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    crossing = Crossing(context, first.by("127.0.0.1:9", ()))
    outlet = crossing.outlet("a->b", str(tmp_path / "out"), receivers=1, policy="block", limit_bytes=1000)
    inlet = crossing.inlet(outlet.address, "a->b", "b", 0, tmp_path, ())
    wanted = {(ticket.may, ticket.until_s, ticket.secret) for ticket in (newer.offer, newer.call)}
    crossing.renew(newer)
    crossing.renew(older)
    found = [gate.ticket for gate in crossing._gates]
    assert {(ticket.may, ticket.until_s, ticket.secret) for ticket in found} == wanted
    assert {ticket.address for ticket in found} == {"127.0.0.1:9"}
    inlet.abandon()
    outlet.close()
    crossing.close_admission()
    context.term()
    crossing.close()


def test_a_passage_reads_as_it_was_written() -> None:
    made = passage(60)
    assert Passage.opened(made.sealed()) == made
    assert msgspec.structs.replace(made, listen=("::1",)) == made.by("10.0.0.1:1", ("::1",))


def test_an_address_that_is_not_of_this_machine_is_named_and_holds_up_no_end(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    crossing = Crossing(context, passage(60).by("127.0.0.1:9", ("192.0.2.1",)))
    with pytest.raises(InputError, match=r"cannot listen at 192\.0\.2\.1.*an address of its machine") as refused:
        crossing.outlet("l", f"{tmp_path}/l", receivers=1, policy="block", limit_bytes=1000)
    crossing.close_admission()
    ending = threading.Thread(target=context.term, daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive(), refused.traceback  # which keeps what was made
    crossing.close()
