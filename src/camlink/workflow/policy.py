"""Policy of a wire, as a word: what its link does when the receiver is slow (carry.policy reads it)."""

from __future__ import annotations

import re
from typing import Final

Policy = str
POLICIES: Final = ("block", "latest", "drop_oldest", "sample(N)", "spill")
_SAMPLE: Final = re.compile(r"sample\((?=\d*[1-9])\d{1,6}\)")


def is_policy(text: str) -> bool:
    """Whether `text` names a policy; N of sample(N) is from 1 to 999999."""
    return (text in POLICIES and "(" not in text) or _SAMPLE.fullmatch(text) is not None
