"""Policy: what a link does when its receiver is slow, as it is written in a workflow."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from camlink.errors import ParameterError

POLICIES: Final = ("block", "latest", "drop_oldest", "sample(N)", "spill")
_POLICY: Final = re.compile(r"block|latest|drop_oldest|spill|sample\((?=0*[1-9])([0-9]{1,6})\)")


class Policy(NamedTuple):
    """A policy that was read; `step` is n of sample(n), 1 otherwise."""

    name: str
    step: int = 1

    @property
    def lossless(self) -> bool:
        """Whether the sender waits (`block`) or writes to disk (`spill`) rather than drop."""
        return self.name in ("block", "spill")


def is_policy(text: str) -> bool:
    """Whether `text` names a policy; N of sample(N) is from 1 to 999999."""
    return _POLICY.fullmatch(text) is not None


def read_policy(text: str) -> Policy:
    """The policy called `text`; raises ParameterError for any other word."""
    found = _POLICY.fullmatch(text)
    if found is None:
        raise ParameterError(f"unknown policy '{text[:40]}' (known: {', '.join(POLICIES)}; N from 1 to 999999)")
    return Policy(text, int(found[1] or 1))
