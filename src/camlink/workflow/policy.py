"""Words of a wire: its policy, what its link does when the receiver is slow (carry.policy reads it), and its kind."""

from __future__ import annotations

import re
from typing import Final, Literal

Policy = str
Kind = Literal["memory", "shm", "zmq"]
KINDS: Final = ("memory", "shm", "zmq")
POLICIES: Final = ("block", "latest", "drop_oldest", "sample(N)", "spill")
LOSSLESS: Final = ("block", "spill")
_SAMPLE: Final = re.compile(r"sample\((?=0*[1-9])[0-9]{1,6}\)")


def is_policy(text: str) -> bool:
    """Whether `text` names a policy; N of sample(N) is from 1 to 999999."""
    return (text in POLICIES and "(" not in text) or _SAMPLE.fullmatch(text) is not None
