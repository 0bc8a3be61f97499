"""What may be asked of a run while it runs: every order is held against its workflow before the run hears of it."""

from __future__ import annotations

from typing import Any

import msgspec

from camlink.errors import InputError, UnknownName
from camlink.runtime.events import Adjust, Order, Pause, Scale
from camlink.runtime.states import Phase
from camlink.workflow.check import Checked
from camlink.workflow.elastic import MOST_REPLICAS
from camlink.workflow.parameter import build, fields


def examine(order: Order, checked: Checked, phase: Phase) -> None:
    """Raises InputError for what the operators of the workflow cannot do, or not at this phase of the run."""
    if phase in ("closing", "over"):
        raise InputError("the run is over; nothing can be asked of it any more")
    if isinstance(order, Scale):
        if phase != "graph":
            raise InputError(f"{order.operator}: replicas join while the graph is executed, and the run has not come "
                             "so far; ask again")
        _examine_scale(order, checked)
    elif isinstance(order, Pause):
        if not any(operator.pauses for operator in checked.operators.values()):
            raise InputError("no source of this workflow can pause; its frames would be lost")
    elif isinstance(order, Adjust):
        _examine_adjust(order, checked)


def _examine_scale(order: Scale, checked: Checked) -> None:
    if order.operator not in checked.operators:
        raise UnknownName("operator of this workflow", order.operator[:80], checked.operators)
    names = scalable(checked)
    if order.operator not in names:
        raise InputError(f"'{order.operator}' has no replicas that join and leave, since each would have to know "
                         f"what the others saw; those that may have: {', '.join(names) or 'none'}")
    if not 1 <= order.replicas <= MOST_REPLICAS:
        raise InputError(f"{order.operator}: {order.replicas} replicas are out of 1 to {MOST_REPLICAS}")


def _examine_adjust(order: Adjust, checked: Checked) -> None:
    operator = checked.operators.get(order.operator)
    if operator is None:
        raise UnknownName("operator of this workflow", order.operator[:80], checked.operators)
    if not operator.changes:
        names = [name for name, known in checked.operators.items() if known.changes]
        raise InputError(f"'{order.operator}' keeps its parameters while it runs; those that take others: "
                         f"{', '.join(names) or 'none'}")
    stays = operator.staying(checked.parameters[order.operator])
    for name in order.parameters:
        if name in stays:
            raise InputError(f"{order.operator}.{name} stays as it is while the run goes on: {stays[name]}")
    values = msgspec.to_builtins(checked.parameters[order.operator])
    build(operator.parameters, {**values, **order.parameters}, order.operator)


def choices_of(checked: Checked) -> dict[str, Any]:
    """What each order may be about in this workflow, for forms: {"pause": sources, "scale": transforms, "set": fields}.

    The fields of an operator are rows as of `workflow.parameter.fields`, with the `value` at the beginning.
    """
    values = {name: msgspec.to_builtins(checked.parameters[name]) for name in checked.operators}
    rows = {name: [{**row, "value": values[name][row["name"]], "default": None} for row in fields(known.parameters)
                   if row["name"] not in known.staying(checked.parameters[name])]
            for name, known in checked.operators.items() if known.changes}
    return {
        "pause": [name for name, operator in checked.operators.items() if operator.pauses],
        "scale": scalable(checked),
        "set": {name: found for name, found in rows.items() if found},
    }


def scalable(checked: Checked) -> list[str]:
    """The operators whose replicas may join and leave."""
    return [name for name, known in checked.operators.items() if known.scalable and not checked.ordered(name)]
