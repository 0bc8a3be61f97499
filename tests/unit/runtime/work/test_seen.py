from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from camlink.runtime.work.seen import Seen

NUMBERS = st.lists(st.integers(-3000, 3000) | st.integers(2**40, 2**40 + 5), max_size=30)
RUNS = st.builds(lambda first, count: list(range(first, first + count)), st.integers(0, 3000), st.integers(0, 1500))


@given(st.lists(NUMBERS | RUNS, max_size=8))
def test_each_number_is_new_once(parts: list[list[int]]) -> None:
    seen, model = Seen(), set[int]()
    for part in parts:
        new = []
        for place, number in enumerate(part):
            if number not in model:
                model.add(number)
                new.append(place)
        assert list(seen.add(part)) == new


def test_a_million_numbers_take_less_than_a_byte_each() -> None:
    seen = Seen()
    for first in range(0, 1_000_000, 50):
        seen.add(list(range(first, first + 50)))
    pages = seen._pages
    assert sys.getsizeof(pages) + sum(sys.getsizeof(page) + 32 for page in pages.values()) < 1_000_000
