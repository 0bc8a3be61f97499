"""Chart: lines over a logarithmic axis as SVG that stands in a page by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH_PX: Final = 560
HEIGHT_PX: Final = 300
LEFT_PX: Final = 58
BOTTOM_PX: Final = 40
EDGE_PX: Final = 14
LINE_COLOURS: Final = ("#52b6c8", "#e3b25a", "#6fc28b", "#f0776c", "#9b8cff", "#f04fb4", "#d5dde4", "#9cc41e")
DASHES: Final = ("", "6 3", "2 3")
_TICKS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """The titles of both axes, and whether y is logarithmic."""

    x: str
    y: str
    log: bool = True


def colour(number: int) -> tuple[str, str]:
    """Colour and dash pattern of line `number`; the pattern changes when the colours are used up."""
    return LINE_COLOURS[number % len(LINE_COLOURS)], DASHES[number // len(LINE_COLOURS) % len(DASHES)]


def chart(lines: Sequence[Line], axes: Axes, mark: float | None = None) -> str:
    """The SVG of `lines`, each in its colour by place, and a dotted line at y = `mark`; "" without a point to draw."""
    kept = [[(x, y) for x, y in line.points if _drawn(x, y, log=axes.log)] for line in lines]
    every = [point for points in kept for point in points]
    if not every:
        return ""
    frame = _Frame.around(every, axes.log, mark)
    parts = [f'<svg viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" role="img" aria-label="{escape(axes.y)} over '
             f'{escape(axes.x)}">', *_grid(frame, axes)]
    if mark is not None and mark > 0:
        y = frame.y(mark)
        parts.append(f'<line class="mark" x1="{LEFT_PX}" x2="{WIDTH_PX - EDGE_PX}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for number, (line, points) in enumerate(zip(lines, kept, strict=True)):
        stroke, dash = colour(number)
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
        if len(points) > 1:
            parts.append(f'<polyline points="{path}" stroke="{stroke}" stroke-dasharray="{dash}">'
                         f"<title>{escape(line.name)}</title></polyline>")
        elif points:
            column, row = path.split(",")
            parts.append(f'<circle cx="{column}" cy="{row}" r="3" fill="{stroke}"><title>{escape(line.name)}</title>'
                         "</circle>")
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a value falls on the drawing [px]."""

    right: float
    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], log: bool, mark: float | None) -> _Frame:
        """The frame that holds all points and the mark."""
        values = [y for _, y in points] + ([mark] if mark is not None and mark > 0 else [])
        low, high = min(values), max(values)
        if log:
            low, high = low / 1.15, high * 1.15
        else:
            low, high = min(low, 0.0), max(high, low + 1e-12) * 1.05
        return cls(max(x for x, _ in points) or 1.0, low, high, log)

    def x(self, value: float) -> float:
        """Column of `value`; the axis starts at 0."""
        return LEFT_PX + (WIDTH_PX - LEFT_PX - EDGE_PX) * value / self.right

    def y(self, value: float) -> float:
        """Row of `value`."""
        part = (math.log(value / self.low) / math.log(self.high / self.low) if self.log
                else (value - self.low) / (self.high - self.low))
        return HEIGHT_PX - BOTTOM_PX - (HEIGHT_PX - BOTTOM_PX - EDGE_PX) * part


def _drawn(x: float, y: float, *, log: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)


def _grid(frame: _Frame, axes: Axes) -> list[str]:
    found = []
    for value in _log_ticks(frame.low, frame.high) if frame.log else _ticks(frame.low, frame.high):
        y = frame.y(value)
        found.append(f'<line class="grid" x1="{LEFT_PX}" x2="{WIDTH_PX - EDGE_PX}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{LEFT_PX - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    floor = HEIGHT_PX - BOTTOM_PX
    for value in _ticks(0.0, frame.right):
        x = frame.x(value)
        found.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{EDGE_PX}" y2="{floor}"/>'
                     f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{value:g}</text>')
    found.append(f'<text x="{(LEFT_PX + WIDTH_PX) / 2:.0f}" y="{HEIGHT_PX - 6}" text-anchor="middle">{escape(axes.x)}'
                 f'</text><text transform="translate(13 {HEIGHT_PX / 2:.0f}) rotate(-90)" text-anchor="middle">'
                 f"{escape(axes.y)}</text>")
    return found


def _ticks(low: float, high: float) -> list[float]:
    """Round values between `low` and `high`, roughly five of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (*_TICKS, 10) if m * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between `low` and `high`; all digits over less, or 1 alone over more."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = math.log10(high / low)
    kept = range(1, 10) if wide < 1 else _TICKS if wide <= 3 else (1,)
    return [value for d in decades for m in kept if low <= (value := m * 10.0**d) <= high]
