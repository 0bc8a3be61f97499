from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from camlink.block import Result
from camlink.display.live import Live
from camlink.display.terminal.session import _pictures
from camlink.testing.toys import toy_frames, toy_scan


@pytest.mark.parametrize("colours", [True, False])
def test_pictures_of_colours_are_drawn_where_there_are_colours_only(colours: bool) -> None:
    live = Live()
    live.show(Result(toy_frames(toy_scan(4), 0, 4).header, {"mean": np.arange(600.0).reshape(20, 30)}))
    console = Console(width=120, height=60, force_terminal=True, color_system="truecolor", no_color=not colours,
                      file=StringIO())
    assert bool(_pictures(live, console).renderables) is colours
