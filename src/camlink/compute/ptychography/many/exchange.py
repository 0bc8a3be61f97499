"""Exchange: what the ranks that share a scan tell each other in an iteration; all of them call it in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


class Exchange:
    """The engine of every rank holds the object of its tile, (H, W), and the whole probe.

    Arrays live where the kernel works, and are changed in place. After `add` the pixels that tiles share hold the same
    bits on all ranks that have them, and so do the sums. This one is of a rank that holds everything and has nothing to
    tell; `halo.Halo` is that of several.
    """

    ranks = 1

    def add(self, images: Sequence[Array], sums: Sequence[Array] = ()) -> None:
        """Add what other tiles hold of `images` (H, W), where they meet this one; `sums` are added over all ranks."""

    def highest(self, value: Any) -> Any:
        """The highest `value` (a number >= 0, or a 0-d array of the kernel) of all ranks."""
        return value

    def whole(self, image: Array) -> Array:
        """The image of the whole scan from the tiles (H, W) of all ranks."""
        return image

    def wait(self, event: Any) -> None:
        """Wait for the GPU of this rank to come to an event."""
        event.synchronize()

    def part(self, whole: Array) -> Array:
        """The tile of this rank in an image of the whole scan; a copy where it is not all of it."""
        return whole
