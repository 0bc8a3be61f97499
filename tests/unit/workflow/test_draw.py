from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

from camlink.workflow.check import check
from camlink.workflow.draw import draw_svg, draw_text, layout
from camlink.workflow.graph import Workflow
from camlink.workflow.join import Join
from camlink.workflow.operator import Operator


def broken() -> Workflow:
    flow = Workflow("broken <&>")
    flow.add("camera", "toy.camera")
    flow.add("solve", "toy.solve", "camera", "nobody")
    flow.add("a", "toy.reduce", "b")
    flow.add("b", "toy.reduce", "a")
    flow.add("odd", "toy.unknown")
    return flow


def test_a_complete_graph_is_a_tree_with_each_operator_once(find: Callable[[str], Operator]) -> None:
    flow = Workflow("demo")
    camera = flow.add("camera", "toy.camera")
    reduce = flow.add("reduce", "toy.reduce", camera)
    solve = flow.add("solve", "toy.solve", reduce)
    flow.add("look", "toy.view", camera, solve, policy="latest")
    assert draw_text(check(flow, find)) == """demo
camera  toy.camera (source, at here)
├─RawFrames─▶ reduce  toy.reduce (transform, at here)
│  └─CountFrames─▶ solve  toy.solve (solver, at here)
│     └─Result, latest─▶ look  toy.view (view, at here)
└─RawFrames, latest─▶ look (above)"""


def test_incomplete_and_cyclic_graphs_are_drawn_too(find: Callable[[str], Operator]) -> None:
    checked = check(broken(), find)
    text = draw_text(checked)
    assert all(name in text for name in broken().nodes)
    root = ET.fromstring(draw_svg(checked))
    assert {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")} >= set(broken().nodes)


def test_the_svg_has_a_box_for_each_operator_and_no_two_overlap(find: Callable[[str], Operator]) -> None:
    spots = layout(broken())
    assert len(set(spots.values())) == len(spots)


def test_a_join_is_drawn_with_its_key_and_skew(find: Callable[[str], Operator]) -> None:
    flow = Workflow("joined")
    camera = flow.add("camera", "toy.camera")
    left, right = (flow.add(name, "toy.reduce", camera) for name in ("left", "right"))
    flow.add("pair", "toy.pair", left, right, join=Join("frame", 16))
    checked = check(flow, find)
    assert "pair  toy.pair (transform, at here, joined by frame, skew 16)" in draw_text(checked)
    assert "joined by frame, skew 16" in draw_svg(checked)
