"""Ordering: the orders that a run takes, as actions of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from camlink.display.web.access import Role
from camlink.display.web.action import Action
from camlink.runtime.events import Adjust, Cancel, Order, Pause, Scale, Tag

ORDERS: Final[dict[str, tuple[type[Order], str]]] = {
    "stop": (Cancel, "End the run; what arrived is kept."),
    "pause": (Pause, "Let sources that can give no more frames, or go on."),
    "scale": (Scale, "Let replicas of a transform join or leave."),
    "set": (Adjust, "Let an operator work with other parameters."),
    "tag": (Tag, "Keep a word about the scan with its record."),
}


def actions_of(give: Callable[[Order], None], choices: Mapping[str, Any] | None = None) -> dict[str, Action]:
    """One action for each order; `give` takes it with the name of who asked, and raises InputError.

    `choices` tells for some of them what they may be about (`OpenRun.choices`), for forms.
    """

    def do(who: str, order: Order) -> None:
        if isinstance(order, Cancel):
            order = msgspec.structs.replace(order, reason=f"stopped by {who} on the page")
        give(msgspec.structs.replace(order, who=who))

    return {name: Action(Role.OPERATOR, do, record, text, (choices or {}).get(name))
            for name, (record, text) in ORDERS.items()}
