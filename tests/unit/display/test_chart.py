from __future__ import annotations

import re
from xml.etree import ElementTree

from camlink.display.chart import LINE_COLOURS, Axes, Line, chart, colour

AXES = Axes("time [s]", "error <of all>")


def points(svg):
    return [[tuple(map(float, p.split(","))) for p in text.split()] for text in re.findall(r'points="([^"]*)"', svg)]


def test_a_line_falls_with_its_error():
    svg = chart([Line("a", ((0.0, 1.0), (1.0, 0.1), (2.0, 0.01))), Line("b", ((1.0, 0.5), (2.0, 0.2)))], AXES, 0.05)
    ElementTree.fromstring(svg)
    first, second = points(svg)
    assert [x for x, _ in first] == sorted(x for x, _ in first)
    assert first[1][1] - first[0][1] == first[2][1] - first[1][1] > 0  # equal steps of a logarithm, downwards
    assert second[0][0] == first[1][0]
    assert 'class="mark"' in svg
    assert "error &lt;of all&gt;" in svg


def test_nothing_to_draw_gives_nothing():
    assert chart([], AXES) == chart([Line("a", ((0.0, 0.0), (1.0, float("nan"))))], AXES) == ""


def test_one_point_is_a_dot_and_a_constant_is_drawn():
    svg = chart([Line("a", ((1.0, 0.5),))], AXES)
    ElementTree.fromstring(svg)
    assert "<circle" in svg
    ElementTree.fromstring(chart([Line("a", ((0.0, 0.0), (1.0, 0.0)))], Axes("x", "y", log=False)))
    ElementTree.fromstring(chart([Line("a", ((1.0, 1e-12), (2.0, 1e6)))], AXES))


def test_many_lines_differ():
    assert len({colour(number) for number in range(2 * len(LINE_COLOURS))}) == 2 * len(LINE_COLOURS)
