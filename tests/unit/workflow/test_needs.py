from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.errors import InputError, ParameterError, UnknownName
from camlink.workflow.needs import Needs, Offer, lacks, read_needs, say_bytes


def test_needs_are_read_with_their_units() -> None:
    assert read_needs({"gpu": 1, "memory": "8 GiB", "cores": 2, "disk": "1.5TB", "time": "2 h"}, "solve") == Needs(
        gpus=1, memory_bytes=8 << 30, cores=2, disk_bytes=1_500_000_000_000, time_s=7200)
    assert read_needs({"gpu": "prefer", "memory": 1000}, "solve") == Needs(prefers_gpu=True, memory_bytes=1000)
    assert not read_needs({}, "solve")


@pytest.mark.parametrize(("said", "names"), [
    ({"gpu": -1}, r"solve\.needs\.gpu"), ({"gpu": True}, "prefer"), ({"memory": "8 GBit"}, "such as 8 GiB"),
    ({"memory": "1e99 GiB"}, "expected"), ({"time": [1]}, "2 h"), ({"cores": 1.5}, "number"), ({"memory": -3}, "-3")])
def test_what_is_no_need_is_said(said: dict[str, object], names: str) -> None:
    with pytest.raises(ParameterError, match=names):
        read_needs(said, "solve")


def test_an_unknown_need_names_the_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'memory'"):
        read_needs({"memmory": 1}, "solve")


@given(st.dictionaries(st.sampled_from(["gpu", "memory", "cores", "disk", "time", "x"]),
                       st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("prefer")))
def test_whatever_is_said_is_read_or_refused(said: dict[str, object]) -> None:
    try:
        read_needs(said, "w")
    except InputError:
        return


def test_what_lacks_is_said_and_what_nobody_knows_never_lacks() -> None:
    needs = Needs(cores=4, memory_bytes=8 << 30, gpus=1, time_s=7200)
    assert lacks(needs, Offer(cores=2, memory_bytes=4 << 30, gpus=0, time_s=60)) == (
        "cores (4 asked, 2 there), GPUs (1 asked, 0 there), memory (8 GiB asked, 4 GiB there), "
        "time before its job ends (2 h asked, 60 s there)")
    assert lacks(needs, Offer()) == ""
    assert say_bytes(1 << 30) == "1 GiB"
