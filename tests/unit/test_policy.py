from __future__ import annotations

import pytest

from camlink.errors import ParameterError
from camlink.policy import is_policy, read_policy

WORDS = ("block", "latest", "drop_oldest", "spill", "sample(1)", "sample(999999)", "sample(007)")
NO_WORDS = ("", "sample(N)", "sample(0)", "sample(-1)", "sample(1000000)", "sample()", "Block", "sample(1) ",
            "sample(٣)")


@pytest.mark.parametrize("text", WORDS)
def test_words_of_policies(text: str) -> None:
    assert is_policy(text)
    assert read_policy(text) == (text, int(text[7:-1]) if "(" in text else 1)


@pytest.mark.parametrize("text", NO_WORDS)
def test_other_words_are_none(text: str) -> None:
    assert not is_policy(text)
    with pytest.raises(ParameterError, match="unknown policy"):
        read_policy(text)
