"""Order: which operators take frames in order, and by which links the turns of frames travel to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camlink.workflow.graph import Node
from camlink.workflow.operator import Operator


def asks_for_order(node: Node, operator: Operator) -> bool:
    """Whether an operator of a workflow takes frames in order: by itself, or because the workflow says so."""
    return node.ordered or operator.ordered


def shares(node: Node, operator: Operator) -> bool:
    """Whether replicas of the operator may change the order of frames on their way to others."""
    return operator.passes_on and not node.ordered


def before(name: str, ways: Sequence[tuple[str, str]], sharing: Mapping[str, bool],
           found: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The operators before `name` that may change the order of what comes to it; `ways` lead from one to another."""
    for source, target in ways:
        if target == name and sharing.get(source) and source not in found:
            found = before(source, ways, sharing, (*found, source))
    return found
