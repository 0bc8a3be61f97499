from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from camlink.runtime.work.meetings import Meeting, Meetings


class Told:
    """A block for the core: only its identity counts."""

    def __init__(self, branch: str, keys: list[int]) -> None:
        self.branch, self.keys = branch, keys


def pour(meetings: Meetings[Told], branch: str, *keys: int) -> Told:
    block = Told(branch, list(keys))
    meetings.add(branch, keys, block)
    return block


def drained(meetings: Meetings[Told]) -> list[Meeting[Told]]:
    found = []
    while (meeting := meetings.take()) is not None:
        found.append(meeting)
    return found


def keys_of(meetings: Meetings[Told]) -> list[tuple[list[int], tuple[str, ...]]]:
    return [(m.keys, m.missing) for m in drained(meetings)]


def test_rows_of_the_same_blocks_come_in_one_meeting() -> None:
    meetings: Meetings[Told] = Meetings("ab", 8)
    block = pour(meetings, "a", 0, 1, 2, 3)
    assert drained(meetings) == []
    pour(meetings, "b", 0)
    pour(meetings, "b", 1, 2)
    pour(meetings, "b", 3, 4)
    found = drained(meetings)
    assert [m.keys for m in found] == [[0], [1, 2], [3]]
    assert all(m.parts["a"][0].block is block for m in found)
    assert [(m.parts["a"][0].rows, m.parts["b"][0].rows) for m in found] == [([0], [0]), ([1, 2], [0, 1]), ([3], [0])]


def test_a_key_is_given_up_when_the_other_branch_is_past_it_by_more_than_the_skew() -> None:
    meetings: Meetings[Told] = Meetings("ab", 2)
    pour(meetings, "a", 0, 1, 2, 3)
    pour(meetings, "b", 1, 2)
    assert keys_of(meetings) == [([1, 2], ())]
    pour(meetings, "b", 3)
    assert keys_of(meetings) == [([3], ()), ([0], ("b",))]
    pour(meetings, "b", 0)
    assert (keys_of(meetings), meetings.late, meetings.incomplete) == ([], {"a": 0, "b": 1}, {"a": 0, "b": 1})


def test_the_leader_is_not_wanted_until_the_others_come_closer() -> None:
    meetings: Meetings[Told] = Meetings("ab", 3)
    pour(meetings, "a", 0, 1)
    assert meetings.wants("a")
    pour(meetings, "a", 2)
    assert (meetings.wants("a"), meetings.wants("b"), meetings.held_up_by()) == (False, True, ["b"])
    pour(meetings, "b", 0)
    assert meetings.wants("a")
    assert meetings.held_up_by() == []


def test_the_end_of_a_branch_decides_what_it_has_not_given() -> None:
    meetings: Meetings[Told] = Meetings("ab", 100)
    pour(meetings, "a", 0, 1)
    pour(meetings, "b", 1)
    meetings.end("b")
    pour(meetings, "a", 2)
    assert keys_of(meetings) == [([1], ()), ([0], ("b",)), ([2], ("b",))]


def test_a_branch_with_few_frames_may_run_ahead_and_loses_none() -> None:
    meetings: Meetings[Told] = Meetings("ab", 8)
    pour(meetings, "b", 0, 4, 8)
    for key in range(9):
        pour(meetings, "a", key)
    assert [m for m in keys_of(meetings) if not m[1]] == [([0], ()), ([4], ()), ([8], ())]
    assert meetings.incomplete["a"] == 0


def test_a_silent_branch_is_left_behind_until_it_speaks_again() -> None:
    meetings: Meetings[Told] = Meetings("ab", 2)
    pour(meetings, "a", 0, 1)
    assert not meetings.wants("a")
    meetings.silence("b")
    assert meetings.wants("a")
    assert keys_of(meetings) == [([0, 1], ("b",))]
    pour(meetings, "a", 2, 3)
    pour(meetings, "b", 1)
    assert (meetings.late["b"], keys_of(meetings), meetings.wants("a")) == (1, [([2, 3], ("b",))], False)


def test_a_point_has_all_its_rows_of_every_branch() -> None:
    meetings: Meetings[Told] = Meetings("ab", 4, several=True)
    pour(meetings, "a", 0, 0, 1)
    pour(meetings, "b", 0)
    assert drained(meetings) == []  # more rows of point 0 may come of b
    pour(meetings, "b", 1)
    pour(meetings, "a", 1, 2)
    (found,) = drained(meetings) or [None]
    assert found is not None
    assert [(p.block.keys, p.rows) for p in found.parts["a"]] == [([0, 0, 1], [0, 1])]
    for name in "ab":
        meetings.end(name)
    assert keys_of(meetings) == [([1], ()), ([2], ("b",))]


def test_what_is_remembered_does_not_grow_with_the_scan() -> None:
    meetings: Meetings[Told] = Meetings("ab", 16)
    for key in range(20_000):
        pour(meetings, "a", key)
        if key % 7:
            pour(meetings, "b", key)
        drained(meetings)
    assert len(meetings._closed) < 4096
    assert len(meetings._oldest) < 100
    pour(meetings, "b", 7)
    assert (meetings.late["b"], keys_of(meetings)) == (1, [])


SKEW = 3
MOST_ROWS = 4


class MeetingsModel(RuleBasedStateMachine):
    """Branches that lose frames and swap neighbours; whoever is wanted may give, in any turn."""

    names = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.meetings: Meetings[Told] = Meetings(self.names, SKEW)
        self.next = dict.fromkeys(self.names, 0)
        self.gave: dict[str, set[int]] = {name: set() for name in self.names}
        self.ended: set[str] = set()
        self.silenced = False
        self.given: dict[int, Meeting[Told]] = {}

    @rule(name=st.sampled_from(names), kept=st.lists(st.booleans(), min_size=1, max_size=MOST_ROWS),
          swap=st.booleans())
    def give(self, name: str, kept: list[bool], swap: bool) -> None:
        if not self.meetings.wants(name):
            return
        first = self.next[name]
        self.next[name] += len(kept)
        keys = [first + step for step, keep in enumerate(kept) if keep]
        if swap:
            keys.reverse()
        self.gave[name].update(keys)
        self.collect(pour(self.meetings, name, *keys))

    @rule(name=st.sampled_from(names))
    def end(self, name: str) -> None:
        if name not in self.ended and self.next[name] > 8:
            self.ended.add(name)
            self.meetings.end(name)
            self.collect()

    @precondition(lambda self: self.meetings.held_up_by())
    @rule()
    def silence(self) -> None:
        self.silenced = True
        self.meetings.silence(self.meetings.held_up_by()[0])
        self.collect()

    def collect(self, block: Told | None = None) -> None:
        for meeting in drained(self.meetings):
            assert {*meeting.parts, *meeting.missing} == set(self.names)
            assert not set(meeting.parts) & set(meeting.missing)
            for name, (piece,) in meeting.parts.items():
                assert piece.block.branch == name
                assert [piece.block.keys[row] for row in piece.rows] == meeting.keys  # never mixed
            for key in meeting.keys:
                assert key not in self.given  # once
                self.given[key] = meeting

    @invariant()
    def somebody_is_wanted(self) -> None:
        going = [name for name in self.names if name not in self.ended]
        assert not going or any(self.meetings.wants(name) for name in going)

    @invariant()
    def what_waits_is_bounded(self) -> None:
        waits = set().union(*self.gave.values()) - set(self.given)
        assert len(waits) <= len(self.names) * (2 * SKEW + MOST_ROWS)

    @invariant()
    def every_count_is_told(self) -> None:
        given = self.meetings.complete + sum(bool(m.missing) for m in self.given.values())
        assert given == len(self.given)

    def teardown(self) -> None:
        for name in self.names:
            self.meetings.end(name)
        self.collect()
        never = set().union(*self.gave.values()) - set(self.given)
        assert not never or self.silenced  # only what a branch that was left behind has for itself
        for key, meeting in self.given.items():
            had = {name for name in self.names if key in self.gave[name]}
            assert set(meeting.parts) <= had
        late = sum(self.meetings.late.values())
        assert not late or self.silenced  # out of turn within the skew loses nothing
        assert late == sum(len(keys) for keys in self.gave.values()) - sum(len(m.parts) for m in self.given.values())


TestMeetingsModel = MeetingsModel.TestCase
TestMeetingsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("skew", [1, 5])
def test_a_branch_that_is_slow_but_loses_nothing_leaves_no_meeting_incomplete(skew: int) -> None:
    meetings: Meetings[Told] = Meetings("ab", skew)
    at = dict.fromkeys("ab", 0)
    for step in range(400):
        name = "b" if step % 10 == 0 else "a"
        if meetings.wants(name):
            pour(meetings, name, at[name])
            at[name] += 1
        assert at["a"] - at["b"] <= skew
    assert (meetings.complete, meetings.incomplete) == (40, {"a": 0, "b": 0})
