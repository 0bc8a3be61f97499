from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.policy import read_policy
from camlink.errors import ParameterError
from camlink.workflow.policy import is_policy

WORDS = ("block", "latest", "drop_oldest", "spill", "sample(1)", "sample(999999)", "sample(007)")
NO_WORDS = ("", "sample(N)", "sample(0)", "sample(-1)", "sample(1000000)", "sample()", "Block", "sample(1) ",
            "sample(٣)")


@pytest.mark.parametrize("text", [*WORDS, *NO_WORDS])
def test_words_of_policies(text: str) -> None:
    assert is_policy(text) == (text in WORDS)


@given(st.one_of(st.text(max_size=12), st.sampled_from(WORDS), st.integers(-5, 2_000_000).map("sample({})".format)))
def test_what_the_workflow_takes_the_link_reads(text: str) -> None:
    if is_policy(text):
        assert read_policy(text).step >= 1
    else:
        with pytest.raises(ParameterError, match="unknown policy"):
            read_policy(text)
