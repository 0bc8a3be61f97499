"""What the log of a run says of those who were turned away at its ports."""

from __future__ import annotations

import msgspec

from camlink.carry.far.door import Refusals
from camlink.runtime.events import Refused
from camlink.runtime.messages import Message


def tell(refusals: Refusals, where: str, *, last: bool = False) -> list[Message]:
    """Who was turned away since the last call, now and then; the `last` time all."""
    return [Refused(where=where, **msgspec.structs.asdict(one)) for one in refusals.news(last=last)]
