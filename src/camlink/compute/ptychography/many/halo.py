"""Halo: the exchange of ranks that hold tiles; the pixels that tiles share are carried by a courier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from camlink.compute.arrays import namespace
from camlink.compute.ptychography.many.exchange import Exchange
from camlink.compute.ptychography.many.tiles import Tiles

Array = NDArray[Any]


class Courier(Protocol):
    """Carries arrays between ranks; every rank calls it with parcels and sums of matching kinds, in the same order.

    Raises PeerLost when a rank is gone or does not answer in time.
    """

    @property
    def rank(self) -> int:
        """Which rank it works for; 0 is the leader."""
        ...

    def trade(self, parcels: Mapping[int, Sequence[Array]], sums: Sequence[Array]) -> dict[int, list[Array]]:
        """What the ranks named in `parcels` sent in return, of the same shapes; `sums` are added up in place.

        All arrays are contiguous. What is given back is only valid until the next call.
        """
        ...

    def highest(self, value: Any) -> Any:
        """The highest `value` of all ranks."""
        ...

    def wait(self, event: Any) -> None:
        """Wait for the GPU to come to an event; raises PeerLost."""
        ...

    def close(self) -> None:
        """Let go of the others, without waiting for them."""
        ...


class Halo(Exchange):
    """The exchange of one rank of several.

    What a pixel gets from several ranks is added in the order of the ranks, so that all of them get the same bits.
    """

    def __init__(self, tiles: Tiles, courier: Courier) -> None:
        self.ranks = tiles.ranks
        self._tiles = tiles
        self._courier = courier
        self._box = tiles.box(courier.rank)
        self._meeting = tiles.meeting(courier.rank)
        self._owned = tiles.owned(courier.rank)

    def add(self, images: Sequence[Array], sums: Sequence[Array] = ()) -> None:
        """Add what other tiles hold of `images` (h, w), where they meet this one; `sums` are added over all ranks."""
        parcels = {other: [namespace(image).ascontiguousarray(image[box]) for image in images]
                   for other, box in self._meeting.items()} if images else {}
        flat = [namespace(total).ascontiguousarray(total) for total in sums]
        received = self._courier.trade(parcels, flat)
        for total, summed in zip(sums, flat, strict=True):
            if summed is not total:
                total[...] = summed
        for number, image in enumerate(images):
            self._gather(image, {other: parts[number] for other, parts in received.items()})

    def highest(self, value: Any) -> Any:
        """The highest `value` of all ranks."""
        return self._courier.highest(value)

    def wait(self, event: Any) -> None:
        """Wait for the GPU to come to an event; raises PeerLost."""
        self._courier.wait(event)

    def whole(self, image: Array) -> Array:
        """The image (H, W) of the whole scan; a pixel is taken from the lowest rank that has it."""
        space = namespace(image)
        whole = space.zeros(self._tiles.shape, image.dtype)
        self._owned = space.asarray(self._owned)
        whole[self._box] = space.where(self._owned, image, space.zeros_like(image))
        self._courier.trade({}, [whole])
        return whole  # type: ignore[no-any-return]

    def part(self, whole: Array) -> Array:
        """The tile of this rank, a copy."""
        return whole[self._box].copy()

    def _gather(self, image: Array, parts: Mapping[int, Array]) -> None:
        lower = [other for other in parts if other < self._courier.rank]
        if len(lower) > 1:
            before = namespace(image).zeros_like(image)
            for other in lower:
                before[self._meeting[other]] += parts[other]
            image += before
        for other, part in parts.items():
            if other > self._courier.rank or len(lower) == 1:
                image[self._meeting[other]] += part
