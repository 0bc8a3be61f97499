"""camlink operators [NAME]: what a workflow can use, and what each takes, gives and may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from camlink.display.terminal.paper import paper
from camlink.errors import InputError
from camlink.registry import Registry
from camlink.workflow.beside import import_operator, look_beside
from camlink.workflow.operator import Operator
from camlink.workflow.parameter import fields
from camlink.workflow.port import Port

Name = Annotated[str, typer.Argument(help="One of them, or MODULE:NAME, with its parameters; none lists all.")]


def operators(name: Name = "") -> None:
    """List the operators that a workflow can use, or the ports and parameters of one."""
    registry: Registry[Operator] = Registry("camlink.operators", "operator")
    if not name:
        rows = [_row(registry, known) for known in registry.names()]
        return paper().print(_table(("use", "kind", "takes", "gives", "what it does"), rows), highlight=False)
    look_beside(Path())
    operator = import_operator(name) if ":" in name else registry.get(name)
    console = paper()
    console.print(f"{name} ({operator.kind}): {operator.help}", highlight=False, markup=False)
    console.print(f"takes {_ports(operator.inputs) or 'nothing'}; gives {_ports(operator.outputs) or 'nothing'}",
                  highlight=False, markup=False)
    if told := fields(operator.parameters):
        console.print(_table(("parameter", "default", "unit", "what it is"), [
            (row["name"], _default(row["default"]), row["unit"], _meaning(row)) for row in told]), highlight=False)
    return None


def _row(registry: Registry[Operator], name: str) -> tuple[str, ...]:
    try:
        operator = registry.get(name)
    except InputError as error:  # a plug-in that is broken hides no other
        return name, "", "", "", str(error)
    return name, operator.kind, _ports(operator.inputs), _ports(operator.outputs), operator.help


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _ports(ports: tuple[Port, ...]) -> str:
    return ", ".join(f"{port.name}: {port.block.__name__}" for port in ports)


def _default(value: Any) -> str:
    return "" if value is msgspec.NODEFAULT else str(value)


def _meaning(row: dict[str, Any]) -> str:
    limits = ", ".join(filter(None, [row["bounds"], " | ".join(map(str, row["choices"]))]))
    return f"{row['help']} ({limits})" if limits else str(row["help"])
