"""Policy: what a link does when its receiver is slow, as it is written in a workflow."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from camlink.errors import ParameterError

POLICIES: Final = ("block", "latest", "drop_oldest", "sample(N)", "spill")
_SAMPLE: Final = re.compile(r"sample\(([0-9]{1,6})\)")


class Policy(NamedTuple):
    """A policy that was read; `step` is n of sample(n), 1 otherwise."""

    name: str
    step: int = 1

    @property
    def lossless(self) -> bool:
        """Whether the sender waits (`block`) or writes to disk (`spill`) rather than drop."""
        return self.name in ("block", "spill")


def read_policy(text: str) -> Policy:
    """The policy called `text`; raises ParameterError for any other word."""
    if text in ("block", "latest", "drop_oldest", "spill"):
        return Policy(text)
    sample = _SAMPLE.fullmatch(text)
    if sample and int(sample[1]):
        return Policy(text, int(sample[1]))
    raise ParameterError(f"unknown policy '{text[:40]}' (known: {', '.join(POLICIES)}; N from 1 to 999999)")
