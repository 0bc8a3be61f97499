from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.account import Snapshot
from camlink.errors import WireError
from camlink.runtime.messages import MAX_CONTROL_BYTES, Connect, Done, Failed, Message, decode, encode
from camlink.testing.hostile import PAYLOADS


@pytest.mark.parametrize("message", [
    Connect(link="a->b", addresses=("ipc://x",)),
    Done(operator="a", replica=1, facts={"n": 1, "lost": {"x": 2}}, sent={"l": Snapshot(sent=3)}, received={}),
    Failed(operator="a", replica=0, facts={}, sent={}, received={}, error="E", text="t", place="p", input=True),
])
def test_messages_come_back_as_they_were(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_hostile_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode(payload)


def test_a_message_that_is_too_deep_where_nobody_reads_is_refused() -> None:
    with pytest.raises(WireError, match="not a message"):
        decode(b"\x82\xa4type\xa4Beat\xa1x" + b"\x91" * 100_000 + b"\xc0")


def test_a_message_beyond_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(WireError, match="over the limit"):
        decode(bytes(MAX_CONTROL_BYTES + 1))


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)
