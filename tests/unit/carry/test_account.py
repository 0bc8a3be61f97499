from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.carry.account import Account, merge
from camlink.errors import WireError


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_ages_are_right_within_a_bin(ages_s: list[float], quantile: float) -> None:
    account = Account()
    for age in ages_s:
        account.count_received(1, 10, 1000.0 + age, 1000.0)
    told = account.snapshot().age_ms(quantile)
    below = sum(age * 1e3 <= told * 1.001 + 1e-3 for age in ages_s)
    assert below >= quantile * len(ages_s)
    assert told <= max(ages_s) * 1e3 * 1.001 + 1e-3


def test_the_sum_of_replicas_keeps_the_law() -> None:
    accounts = [Account(), Account()]
    for n, account in enumerate(accounts, 1):
        account.count_sent(3 * n, 100, 10.0 * n)
        account.count_acknowledged(n, 30)
        account.count_lost("died", n)
        account.count_dropped("latest", 5)
    total = merge([a.snapshot() for a in accounts])
    assert (total.sent, total.acknowledged, total.lost, total.dropped) == (9, 3, {"died": 3}, {"latest": 10})
    assert total.in_flight == 3
    assert (total.first_s, total.last_s) == (10.0, 20.0)
    assert merge([]).age_ms(0.5) == 0.0


def test_nobody_acknowledges_more_than_was_sent() -> None:
    account = Account()
    account.count_sent(2, 10, 1.0)
    account.count_lost("died", 1)
    with pytest.raises(WireError):
        account.count_acknowledged(2, 10)
    with pytest.raises(WireError):
        account.count_acknowledged(-1, 10)


def test_a_clock_that_jumps_back_gives_no_negative_age() -> None:
    account = Account()
    account.count_received(1, 10, 5.0, 9.0)
    assert account.snapshot().max_age_s == 0.0
