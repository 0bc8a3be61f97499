"""Whatever a line between machines swallows, doubles or turns about: each word is heard once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.errors import PeerLost, WireError
from camlink.runtime.reach.receipts import AGAIN_S, ANSWER_S, LONGEST_S, MOST_KEPT, Receipts, over, read_life

STEPS = st.lists(st.tuples(st.sampled_from(["say", "say", "hear", "hear", "drop", "double", "wait", "cut"]),
                           st.integers(0, 1), st.integers(0, 5)), max_size=60)


class Line:
    """Two ends, what is under way to each, what each was told and what it heard."""

    def __init__(self) -> None:
        self.ends = (Receipts(7), Receipts(7))
        self.under_way: tuple[list[list[bytes]], list[list[bytes]]] = ([], [])
        self.told: tuple[list[bytes], list[bytes]] = ([], [])
        self.heard: tuple[list[bytes], list[bytes]] = ([], [])
        self.at_s = 0.0

    def step(self, what: str, end: int, place: int) -> None:
        under_way = self.under_way[end]
        if what == "say":
            word = b"%d" % len(self.told[1 - end])
            self.told[1 - end].append(word)
            self.under_way[1 - end].append(self.ends[end].say([word], self.at_s))
        elif what == "wait":
            self.at_s += place * AGAIN_S / 2
            self.tend()
        elif what == "cut":
            del self.under_way[0][place:], self.under_way[1][place:]
            self.ends[end].hurry()
        elif under_way:
            message = under_way[place % len(under_way)]
            if what == "double":
                under_way.append(message)
                return
            under_way.remove(message)
            if what == "hear" and (words := self.ends[end].hear(message, self.at_s)):
                self.heard[end].extend(words)

    def tend(self) -> None:
        for end in (0, 1):
            self.under_way[1 - end].extend(self.ends[end].due(self.at_s))


@given(STEPS)
def test_each_word_is_heard_once_and_in_order(steps):
    line = Line()
    for step in steps:
        line.step(*step)
        for told, heard in zip(line.told, line.heard, strict=True):
            assert heard == told[:len(heard)]
    for _ in range(4):  # from now on nothing is swallowed
        line.at_s += 2 * LONGEST_S
        line.tend()
        while any(line.under_way):
            for end in (0, 1):
                line.step("hear", end, 0)
    assert line.heard == line.told
    assert [end.kept for end in line.ends] == [0, 0]


def test_what_was_heard_is_told_once_and_what_was_not_is_said_again_more_and_more_rarely():
    here, there = Receipts(1), Receipts(1)
    message = here.say([b"x"], 0.0)
    assert here.due(0.9) == []
    assert [len(here.due(t / 10)) for t in (10, 11, 19, 21, 39, 41)] == [1, 0, 0, 1, 0, 1]
    assert there.hear(message, 0.0) == [b"x"]
    assert there.due(0.0) == []
    (told,) = there.due(ANSWER_S)
    assert there.due(1.0) == []
    assert here.hear(told, 5.0) is None
    assert here.due(100.0) == []


@pytest.mark.parametrize("message", [[], [b""], [b"x" * 23], [b"x" * 25], [bytes(24)] * 4, [bytes(24), b"word"],
                                     [b"\1" + bytes(23), b"", b"", b""]])
def test_what_is_no_message_of_a_line_is_refused(message):
    with pytest.raises(WireError):
        Receipts(0).hear(message, 0.0)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_noise_is_refused_or_changes_nothing_but_what_was_heard(message):
    receipts = Receipts(1)
    kept = receipts.say([b"x"], 0.0)
    for hear in (lambda: receipts.hear(message, 0.0), lambda: read_life(message)):
        try:
            hear()
        except (WireError, PeerLost):
            assert receipts.kept == 1
    assert read_life(kept) == (1, True)


def test_nobody_keeps_words_without_end_for_an_end_that_hears_nothing():
    receipts = Receipts(1)
    for _ in range(MOST_KEPT):
        receipts.say([b""], 0.0)
    with pytest.raises(PeerLost, match="were not heard"):
        receipts.say([b""], 0.0)


def test_an_agent_learns_that_another_has_come():
    with pytest.raises(PeerLost, match="takes the place"):
        Receipts(1).hear(over(1), 0.0)


def test_what_is_meant_for_the_agent_before_is_left():
    before, agent = Receipts(1), Receipts(2)
    for word in (b"x", b"y"):
        assert agent.hear(before.say([word], 0.0), 0.0) is None
    assert agent.hear(over(1), 0.0) is None
    assert agent.due(1.0) == []


def test_after_a_long_silence_what_was_not_heard_is_said_soon():
    here, there = Receipts(1), Receipts(1)
    here.say([b"x"], 0.0)
    assert [t for t in range(30) if here.due(t)] == [1, 2, 4, 8, 16, 24]
    here.hear(there.say([b"y"], 25.0), 25.0)
    assert [number for number in (25.5, 26.0) if len(here.due(number)[0]) > 1] == [26.0]
