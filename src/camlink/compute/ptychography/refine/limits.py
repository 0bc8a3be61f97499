"""Limits: what is known of an object beforehand: that it only turns phases, is real, or lets so much light through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from numpy.typing import NDArray

from camlink.compute.arrays import namespace

Array = NDArray[Any]
ObjectKind = Literal["complex", "phase", "real"]
NO_LIMIT: Final = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """An object step: every new object is brought to the nearest one that obeys.

    `phase` means |O| = 1, `real` no imaginary part; |O| stays within `least` and `most` (NO_LIMIT: any). Transmission
    is 1 where a frame has the photons of the probe.
    """

    kind: ObjectKind = "complex"
    least: float = 0.0
    most: float = NO_LIMIT

    def apply(self, image: Array, weight: Array) -> Array:
        """The object (H, W) made to obey, wherever it was lit or not."""
        space = namespace(image)
        if self.kind == "real":
            image = image.real.astype(image.dtype)
        size = space.abs(image)
        wanted = space.clip(size, self.least, self.most or None) if self.kind != "phase" else space.ones_like(size)
        tiny = space.finfo(size.dtype).tiny
        return space.where(size > tiny, image * (wanted / space.maximum(size, tiny)), wanted)  # type: ignore[no-any-return]
