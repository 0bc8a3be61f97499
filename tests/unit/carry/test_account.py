from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.account import Account, Histogram, merge


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_ages_are_right_within_a_bin(ages_s: list[float], quantile: float) -> None:
    account = Account()
    for age in ages_s:
        account.count_received(1, 10, 1000.0 + age, 1000.0, 1000.0 + age / 2)
    told = account.snapshot().age_ms(quantile)
    below = sum(age * 1e3 <= told * 1.001 + 1e-3 for age in ages_s)
    assert below >= quantile * len(ages_s)
    assert told <= max(ages_s) * 1e3 * 1.001 + 1e-3


@given(st.lists(st.floats(1e-6, 100.0), max_size=50))
def test_a_histogram_holds_every_block_between_its_edges(ages_s: list[float]) -> None:
    account = Account()
    for age in ages_s:
        account.count_received(1, 10, age, 0.0, 0.0)
    told = account.snapshot()
    found = Histogram.of(told.ages, told.age_sum_s)
    edges = found.edges_ms
    assert all(later == 2 * before for before, later in pairwise(edges))
    assert abs(found.sum_ms - 1e3 * sum(ages_s)) < 0.01 + 1e-6 * found.sum_ms
    wanted = [sum(edge / 2 <= 1e3 * age < edge for age in ages_s) for edge in edges]
    assert list(found.blocks) == wanted
    assert sum(found.blocks) == len(ages_s)


def filled(n: int) -> Account:
    account = Account()
    account.count_kept(3 * n, 100)
    account.count_sent(3 * n, 100, 10.0 * n)
    account.acknowledged += n
    account.count_lost("died", n)
    account.count_let_go(2 * n, 60)
    account.count_kept(5, 50)
    account.count_dropped("latest", 5)
    account.count_let_go(5, 50)
    return account


def test_the_sum_of_replicas_keeps_the_law() -> None:
    total = merge([filled(1).snapshot(), filled(2).snapshot()])
    assert (total.sent, total.acknowledged, total.lost, total.dropped) == (9, 3, {"died": 3}, {"latest": 10})
    assert (total.in_flight, total.kept, total.queue_bytes) == (3, 3, 80)
    assert (total.first_s, total.last_s) == (10.0, 20.0)
    assert total.fault() == ""
    assert merge([]).age_ms(0.5) == 0.0


def test_a_frame_that_is_nowhere_is_found() -> None:
    account = filled(1)
    account.count_let_go(1, 0)
    assert "8 frames offered, but 1 acknowledged, 5 dropped, 1 lost and 0 kept" in account.snapshot().fault()


@pytest.mark.parametrize("then_s", [9.0, float("nan"), float("inf"), -float("inf"), 1e308, -1e308])
def test_whatever_time_a_sender_names_gives_an_age(then_s: float) -> None:
    account = Account()
    account.count_received(1, 10, 5.0, then_s, then_s)
    told = account.snapshot()
    assert (told.max_age_s, told.age_sum_s, told.max_hop_s, told.hop_sum_s) == (0.0,) * 4
    assert sum(told.ages.values()) == sum(told.hops.values()) == 1
