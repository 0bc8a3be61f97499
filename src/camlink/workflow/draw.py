"""draw: any graph, complete or not, as text for the terminal and as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

from camlink.workflow.check import Checked, Link
from camlink.workflow.graph import Wire, Workflow

BOX_W: Final = 176
BOX_H: Final = 58
GAP_X: Final = 84
GAP_Y: Final = 30
MARGIN: Final = 24

_COLOURS: Final = {
    "source": "#5ec8b0", "transform": "#6aa9e9", "solver": "#c79bf0", "decision": "#f0b35e", "sink": "#9fb0c3",
    "view": "#e58fb1", "unknown": "#e5676b",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a node of the drawing sits: column by longest way from a source, row within it."""

    column: int
    row: int


def layout(workflow: Workflow) -> dict[str, Spot]:
    """Column and row of every operator; unknown senders and cycles do not disturb it."""
    column: dict[str, int] = {}

    def depth(name: str, trail: frozenset[str]) -> int:
        if name in column:
            return column[name]
        if name in trail or name not in workflow.nodes:
            return -1
        wires = [w for w in workflow.nodes[name].wires if not w.feedback]
        column[name] = 1 + max((depth(w.operator, trail | {name}) for w in wires), default=-1)
        return column[name]

    spots, filled = {}, dict.fromkeys(range(len(workflow.nodes) + 1), 0)
    for name in workflow.nodes:
        at = depth(name, frozenset())
        spots[name] = Spot(at, filled[at])
        filled[at] += 1
    return spots


def draw_text(checked: Checked) -> str:
    """The graph as an indented tree; an operator that is fed twice is shown once and named again."""
    flow = checked.workflow
    after: dict[str, list[tuple[str, Wire]]] = {}
    for node in flow.nodes.values():
        for wire in node.wires:
            after.setdefault(wire.operator, []).append((node.name, wire))
    lines, shown = [f"{flow.name}"], set[str]()

    def label(name: str) -> str:
        op = checked.operators.get(name)
        node = flow.nodes[name]
        kind = str(op.kind) if op else "unknown"
        count = f" x{node.replicas}" if node.replicas > 1 else ""
        count = f" x{node.elastic.min}-{node.elastic.max}" if node.elastic else count
        join = f", {node.join}" if node.join else ", in order" if node.ordered else ""
        return f"{name}{count}  {node.use} ({kind}, at {node.at}{join})"

    def grow(name: str, prefix: str) -> None:
        shown.add(name)
        branches = after.get(name, [])
        for number, (target, wire) in enumerate(branches):
            last = number == len(branches) - 1
            again = target in shown
            text = f"{target} (above)" if again else label(target)
            lines.append(f"{prefix}{'└─' if last else '├─'}{_carries(checked, target, wire)}─▶ {text}")
            if not again:
                grow(target, prefix + ("   " if last else "│  "))

    fed = {n.name for n in flow.nodes.values() if any(w.operator in flow.nodes for w in n.wires)}
    for name in [*(n for n in flow.nodes if n not in fed), *flow.nodes]:
        if name not in shown:
            lines.append(label(name))
            grow(name, "")
    return "\n".join(lines)


def _carries(checked: Checked, target: str, wire: Wire) -> str:
    link = _link(checked, target, wire)
    if link is None:
        return "?"
    marks = [link.output.block.__name__]
    marks += [link.policy] if link.policy != "block" else []
    marks += ["feedback"] if link.feedback else []
    return ", ".join(marks)


def _link(checked: Checked, target: str, wire: Wire) -> Link | None:
    for link in checked.links:
        if link.target == target and link.source == wire.operator and wire.port in ("", link.output.name):
            return link
    return None


def draw_svg(checked: Checked) -> str:
    """The graph as a standalone SVG; a wire that leads nowhere is drawn in red."""
    flow, spots = checked.workflow, layout(checked.workflow)
    wide = MARGIN * 2 + (max((s.column for s in spots.values()), default=0) + 1) * (BOX_W + GAP_X) - GAP_X
    high = MARGIN * 2 + (max((s.row for s in spots.values()), default=0) + 1) * (BOX_H + GAP_Y) - GAP_Y
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
             'font-family="system-ui, sans-serif" font-size="13">',
             f"<title>{escape(flow.name)}</title>",
             '<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
             '<path d="M0,0 L9,4 L0,8 z" fill="#8b9bb0"/></marker></defs>',
             f'<rect width="{wide}" height="{high}" fill="#11161d"/>']
    for node in flow.nodes.values():
        parts += [_edge(checked, spots[wire.operator], spots[node.name], node.name, wire)
                  for wire in node.wires if wire.operator in spots]
    for name, spot in spots.items():
        parts.append(_box(checked, name, spot))
    return "\n".join([*parts, "</svg>"])


def _corner(spot: Spot) -> tuple[int, int]:
    return MARGIN + spot.column * (BOX_W + GAP_X), MARGIN + spot.row * (BOX_H + GAP_Y)


def _box(checked: Checked, name: str, spot: Spot) -> str:
    x, y = _corner(spot)
    node = checked.workflow.nodes[name]
    join = f'<text x="{x + 12}" y="{y + 54}" fill="#8b9bb0" font-size="9">{node.join}</text>' if node.join else ""
    op = checked.operators.get(name)
    kind = str(op.kind) if op else "unknown"
    return (f'<g><rect x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="9" fill="#1b2430" '
            f'stroke="{_COLOURS[kind]}" stroke-width="1.6"/>'
            f'<text x="{x + 12}" y="{y + 22}" fill="#e6ebf2" font-weight="600">{escape(name)}</text>'
            f'<text x="{x + 12}" y="{y + 40}" fill="{_COLOURS[kind]}" font-size="11">'
            f"{escape(node.use)} · {kind}</text>{join}</g>")


def _edge(checked: Checked, source: Spot, target: Spot, name: str, wire: Wire) -> str:
    link = _link(checked, name, wire)
    (x0, y0), (x1, y1) = _corner(source), _corner(target)
    x0, y0, y1 = x0 + BOX_W, y0 + BOX_H // 2, y1 + BOX_H // 2
    bend = max(GAP_X // 2, (x1 - x0) // 2)
    colour = "#8b9bb0" if link else "#e5676b"
    dash = ' stroke-dasharray="5 4"' if link is None or link.policy != "block" or link.feedback else ""
    carries = escape(_carries(checked, name, wire))
    return (f'<path d="M{x0},{y0} C{x0 + bend},{y0} {x1 - bend},{y1} {x1},{y1}" fill="none" stroke="{colour}" '
            f'stroke-width="1.6"{dash} marker-end="url(#tip)"><title>{carries}</title></path>')
