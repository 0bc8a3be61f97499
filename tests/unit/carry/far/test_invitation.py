"""Invitations: they lead to addresses of machines, whatever somebody writes into them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.far.invitation import INVITE, MOST_PLACES, Invitation, endpoint_of, read_invitation
from camlink.errors import WireError


@pytest.mark.parametrize("endpoints", [["ipc:///tmp/x"], ["tcp://example.org:80"], ["tcp://127.0.0.1:x"],
                                       ["tcp://:1"], ["tcp://127.0.0.1:0"], ["tcp://127.0.0.1:65536"],
                                       ["tcp://[fe80::1%a b]:80"], ["tcp://127.0.0.1:1;tcp://127.0.0.2:2"],
                                       ["tcp://127.0.0.1:1"] * (MOST_PLACES + 1)])
def test_an_invitation_leads_to_addresses_only(endpoints: list[str]) -> None:
    with pytest.raises(WireError):
        read_invitation(Invitation("b", 0, tuple(endpoints)).written())


def test_an_invitation_that_is_too_deep_where_nobody_reads_is_refused() -> None:
    with pytest.raises(WireError):
        read_invitation(INVITE + b"\x94\xa1b\x00\x90" + b"\x91" * 5000)


@given(st.ip_addresses().filter(lambda host: "%" not in str(host)), st.integers(1, 65535))
def test_an_invitation_reads_as_it_was_written(host: object, port: int) -> None:
    invitation = Invitation("b", 3, (endpoint_of(str(host), port),))
    assert read_invitation(invitation.written()) == invitation


@given(st.binary(max_size=80))
def test_whatever_is_no_invitation_is_refused(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert read_invitation(INVITE + data).name
