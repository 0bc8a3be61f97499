from __future__ import annotations

from io import StringIO

import numpy as np
from rich.console import Console

from camlink.block import Header, Result
from camlink.display.live import Live
from camlink.display.terminal.sketch import half_blocks, sketches, sparkline
from camlink.testing.toys import toy_scan


def test_two_pixels_share_a_character_with_their_colours() -> None:
    rgb = np.array([[[255, 0, 0]], [[0, 0, 255]], [[0, 255, 0]]], np.uint8)
    first, line, second, _ = half_blocks(rgb).segments
    assert line.text == "\n"
    assert (first.style.color.triplet, first.style.bgcolor.triplet) == ((255, 0, 0), (0, 0, 255))
    assert second.style.color.triplet == second.style.bgcolor.triplet == (0, 255, 0)


def test_a_sparkline_rises_with_the_logarithm() -> None:
    assert sparkline([1.0, None, 10.0, 100.0]) == "▁▅█" or sparkline([1.0, 10.0, 100.0]) == "▁▄█"
    assert sparkline([1.0]) == ""
    assert sparkline([2.0, 2.0]) == "▁▁"


def test_what_the_live_store_has_is_sketched() -> None:
    live = Live()
    live.show(Result(Header(scan=toy_scan(4), made_s=0.0, source="solve"),
                     {"object": np.ones((8, 8), complex), "probe": np.ones((1, 8, 8), complex)}))
    console = Console(width=100, force_terminal=True, color_system="truecolor", record=True, file=StringIO())
    console.print(sketches(live, 20))
    text = console.export_text()
    assert "object" in text
    assert "probe" in text
    assert text.count("▀") == 2 * 8 * 4
