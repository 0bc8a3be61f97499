from __future__ import annotations

import pytest

from camlink.display.terminal.demo import DEMOS, demo_workflow
from camlink.display.terminal.options import Size
from camlink.errors import UnknownName
from camlink.workflow.check import check


@pytest.mark.parametrize("name", DEMOS)
@pytest.mark.parametrize("size", list(Size))
def test_every_demo_checks_without_a_problem(name: str, size: Size) -> None:
    assert check(demo_workflow(name, size, "drop-packets=0.01")).problems == ()


def test_the_talk_is_forty_by_forty_frames_of_260() -> None:
    nodes = demo_workflow("ptychography", Size.TALK).nodes
    assert nodes["beamline"].parameters["points_y"] == nodes["beamline"].parameters["points_x"] == 40
    assert nodes["reduce"].parameters == {"crop": 260, "shape": 260}


def test_an_unknown_demo_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown demo 'tomo'"):
        demo_workflow("tomo")
