"""View: the operator that puts the newest blocks on the screen."""

from __future__ import annotations

from typing import Annotated

from camlink.block import Block
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about
from camlink.workflow.port import Inflow


class ViewParameters(Parameters, frozen=True):
    """How often a view takes a new block."""

    interval_s: Annotated[float, about("shortest time between two blocks shown", unit="s", ge=0.0, le=60.0)] = 0.0


@operator("view", kind="view")
def view(blocks: Inflow[Block], *, parameters: ViewParameters, context: Context) -> None:
    """Shows the newest block of each source on the page; nothing waits for the people who look."""
    shown: dict[str, float] = {}
    held: dict[str, Block] = {}
    for block in blocks:
        source, made_s = block.header.source, block.header.made_s
        if made_s - shown.get(source, -1e300) < parameters.interval_s:
            held[source] = block
            continue
        held.pop(source, None)
        shown[source] = made_s
        context.screen.show(block)
    for block in held.values():  # the last block of a source is always seen
        context.screen.show(block)
