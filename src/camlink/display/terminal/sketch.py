"""Sketch: pictures in the terminal, two pixels a character, for those who have no browser at hand."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from camlink.display.colour import coloured
from camlink.display.image import Lens, Part
from camlink.display.live import Live

HALF_BLOCK: Final = "▀"
_BARS: Final = "▁▂▃▄▅▆▇█"
_SHOWN: Final[tuple[tuple[str, Part, str, str], ...]] = (
    ("object", "amplitude", "gray", "object"), ("map", "value", "viridis", "STXM map"),
    ("probe", "amplitude", "magma", "probe"))


def sketches(live: Live, columns: int) -> Table:
    """Object, STXM map and probe as they are now, each at most `columns` characters wide."""
    names = [label.name for label in live.labels()]
    grid, titles, images = Table.grid(padding=(0, 3)), [], []
    for ending, part, colours, title in _SHOWN:
        name = next((n for n in names if n.endswith("/" + ending)), None)
        if name is not None:
            _, image = live.image(name, Lens(part=part, height=columns, width=columns))
            grid.add_column(width=max(image.width, len(title)))
            titles.append(Text(title, style="dim"))
            images.append(half_blocks(coloured(image.pixels, colours)))
    grid.add_row(*titles)
    grid.add_row(*images)
    return grid


def half_blocks(rgb: NDArray[np.uint8]) -> Segments:
    """An image (y, x, 3) uint8 as coloured characters; each shows an upper and a lower pixel."""
    if len(rgb) % 2:
        rgb = np.concatenate([rgb, rgb[-1:]])
    segments = []
    for upper, lower in zip(rgb[::2].tolist(), rgb[1::2].tolist(), strict=True):
        segments += [Segment(HALF_BLOCK, Style(color=Color.from_rgb(*a), bgcolor=Color.from_rgb(*b)))
                     for a, b in zip(upper, lower, strict=True)]
        segments.append(Segment.line())
    return Segments(segments)


def sparkline(values: list[float | None], width: int = 40) -> str:
    """The last `width` values as bars of a logarithmic scale; nothing for fewer than two."""
    known = np.array([v for v in values if v is not None and v > 0][-width:])
    if len(known) < 2:
        return ""
    logs = np.log(known)
    place = (logs - logs.min()) / max(float(np.ptp(logs)), 1e-12)
    return "".join(_BARS[i] for i in np.rint(place * (len(_BARS) - 1)).astype(int))
