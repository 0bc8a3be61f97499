"""Order: which operators take frames in order, and by which links the turns of frames travel to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from camlink.workflow.graph import Node
from camlink.workflow.operator import Operator


class Way(Protocol):
    """What is looked at of a link."""

    @property
    def source(self) -> str:
        """The operator at its beginning."""
        ...

    @property
    def target(self) -> str:
        """The operator at its end."""
        ...


def asks_for_order(node: Node, operator: Operator) -> bool:
    """Whether an operator of a workflow takes frames in order: by itself, or because the workflow says so."""
    return node.ordered or operator.ordered


def shares(node: Node, operator: Operator) -> bool:
    """Whether replicas of the operator may change the order of frames on their way to others."""
    return operator.passes_on and not node.ordered


def before(name: str, links: Iterable[Way], sharing: Mapping[str, bool],
           found: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The operators before `name` that may change the order of what comes to it."""
    ways = tuple(links)
    for way in ways:
        if way.target == name and sharing.get(way.source) and way.source not in found:
            found = before(way.source, ways, sharing, (*found, way.source))
    return found
