from __future__ import annotations

import pytest

from camlink.display.pace import KEPT, LEAST_S, MOST_S, Pace


def test_a_cheap_picture_is_made_as_often_as_a_screen_can_show() -> None:
    pace = Pace(share=0.05, processors=2)
    assert pace.take_turn("a", 0.0)
    pace.note("a", 0.001, 0.0)
    assert [pace.take_turn("a", at_s) for at_s in (0.02, 0.049, 0.051, 0.06)] == [False, False, True, False]


@pytest.mark.parametrize("looked_at", [1, 4])
def test_all_that_is_looked_at_together_takes_its_share_and_no_more(looked_at: int) -> None:
    pace, spent_s, cost_s = Pace(share=0.05, processors=2), 0.0, 0.02
    for tick in range(1000):  # ten seconds
        at_s = tick / 100
        for key in range(looked_at):
            if pace.take_turn(key, at_s):
                pace.note(key, cost_s, at_s)
                spent_s += cost_s
    assert 0.5 < spent_s / 10 / 0.1 <= 1.1


def test_what_nobody_looks_at_any_more_costs_nothing() -> None:
    pace = Pace(share=0.05, processors=2)
    for key in range(20):
        pace.note(key, 0.05, 0.0)
    assert pace._period_s(0.1) == MOST_S
    assert pace._period_s(10.0) == LEAST_S


def test_only_one_of_those_who_wait_makes_the_picture() -> None:
    pace = Pace(share=0.05, processors=2)
    pace.note("a", 0.001, 0.0)
    assert [pace.take_turn("a", 1.0) for _ in range(5)] == [True, False, False, False, False]


def test_it_remembers_no_more_than_it_says() -> None:
    pace = Pace()
    for key in range(KEPT + 10):
        pace.note(key, 10.0, 0.0)
    assert pace.take_turn(0, 0.0 + MOST_S)
    assert not pace.take_turn(KEPT, 0.5)
