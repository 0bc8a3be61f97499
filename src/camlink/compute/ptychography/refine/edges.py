"""Edges: what keeps pixels calm that hardly any light reaches, where the data alone would fit nothing but noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from camlink.compute.arrays import namespace

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Edges:
    """An object step: O goes on to (w O + d mean)/(w + d) with d = `level` x max(w), the mean taken over the light w.

    Where much light falls that changes next to nothing (Tikhonov regularisation towards the mean transmission).
    """

    level: float = 1e-4

    def apply(self, image: Array, weight: Array) -> Array:
        """The object (H, W), drawn to its mean where its illumination (H, W) is dim."""
        space, tiny = namespace(image), 1e-30
        mean = ((image * weight).sum() / space.maximum(weight.sum(), tiny)).astype(image.dtype)
        pull = self.level * weight.max() + tiny
        return image + (pull / (weight + pull)).astype(image.real.dtype) * (mean - image)  # type: ignore[no-any-return]
