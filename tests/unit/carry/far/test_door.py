from __future__ import annotations

from camlink.carry.far.door import EVERY_S, MOST_HOSTS, OTHERS, VARIOUS, Refusals


def test_who_knocks_is_told_by_host_and_reason_now_and_then() -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    refusals.add("10.0.0.1:5", "no key")
    assert [(one.peer, one.count) for one in refusals.news()] == [("10.0.0.1:5", 1)]
    for port in range(100):
        refusals.add(f"10.0.0.1:{port}", "no key")
    assert refusals.news() == []
    now[0] += EVERY_S
    assert [(one.peer, one.reason, one.count) for one in refusals.news()] == [("10.0.0.1:99", "no key", 100)]
    refusals.add("[::1]:7", "noise")
    assert [one.peer for one in refusals.news(last=True)] == ["[::1]:7"]
    assert refusals.news(last=True) == []
    assert refusals.total == 102


def test_what_is_kept_is_bounded_however_many_knock() -> None:
    refusals = Refusals()
    for number in range(10_000):
        refusals.add(f"10.{number >> 8}.{number & 255}.1:9", "no key")
    told = refusals.news()
    assert len(told) == MOST_HOSTS + 1
    assert told[-1].peer == OTHERS
    assert sum(one.count for one in told) == 10_000
    for number in range(10_000):
        refusals.add("its agent", f"nonsense {number}")
    told = refusals.news(last=True)
    assert len(told) == 2 * MOST_HOSTS + 1
    assert told[-1].reason == VARIOUS
    assert sum(one.count for one in told) == 10_000
