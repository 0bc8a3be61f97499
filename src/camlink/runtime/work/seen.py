"""Seen: a set of whole numbers that mostly rise, at two bits each: streams may go on for hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_PAGE: Final = 1024


class Seen:
    """Which numbers came before."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}  # number // _PAGE -> one bit for each

    def add(self, numbers: Sequence[int]) -> Sequence[int]:
        """Note the numbers; the places in `numbers` of those that had not come before."""
        if not numbers:
            return ()
        pages, first, count = self._pages, numbers[0], len(numbers)
        page, bit = divmod(first, _PAGE)
        if bit + count <= _PAGE and (count == 1 or numbers == list(range(first, first + count))):
            known, mask = pages.get(page, 0), ((1 << count) - 1) << bit
            if not known & mask:
                pages[page] = known | mask
                return range(count)
        places = []
        for place, number in enumerate(numbers):
            page, bit = divmod(number, _PAGE)
            known = pages.get(page, 0)
            if not known >> bit & 1:
                pages[page] = known | 1 << bit
                places.append(place)
        return places
