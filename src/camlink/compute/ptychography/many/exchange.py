"""Exchange: what the ranks that share a scan tell each other in an iteration; all of them call it in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]


class Exchange(Protocol):
    """The engine of every rank holds the object of its tile, (H, W), and the whole probe.

    Arrays live where the kernel works, and are changed in place. After `add` the pixels that tiles share hold the same
    bits on all ranks that have them, and so do the sums.
    """

    @property
    def ranks(self) -> int:
        """How many share the scan."""
        ...

    def add(self, images: Sequence[Array], sums: Sequence[Array] = ()) -> None:
        """Add what other tiles hold of `images` (H, W), where they meet this one; `sums` are added over all ranks."""
        ...

    def highest(self, value: Any) -> Any:
        """The highest `value` (a number >= 0, or a 0-d array of the kernel) of all ranks."""
        ...

    def whole(self, image: Array) -> Array:
        """The image of the whole scan from the tiles (H, W) of all ranks."""
        ...

    def wait(self, event: Any) -> None:
        """Wait for the GPU of this rank to come to an event."""
        ...

    def part(self, whole: Array) -> Array:
        """The tile of this rank in an image of the whole scan, a copy."""
        ...


class Alone:
    """One rank that holds everything: nothing to tell."""

    ranks = 1

    def add(self, images: Sequence[Array], sums: Sequence[Array] = ()) -> None:
        """All there is, is here."""

    def highest(self, value: Any) -> Any:
        """The value itself."""
        return value

    def whole(self, image: Array) -> Array:
        """The image itself."""
        return image

    def wait(self, event: Any) -> None:
        """Wait for the GPU to come to an event."""
        event.synchronize()

    def part(self, whole: Array) -> Array:
        """The image itself."""
        return whole
