"""Positions: where the beam was at every frame, from how its wave differs from what the object there would make.

To first order P O(r + d) - P O = P (d . grad O), so that the displacement d solves a 2 x 2 system per frame, the least
squares of z - P O over the window; no transform is needed. Guizar-Sicairos and Fienup, Opt. Express 16 (2008) 7264;
Odstrcil et al., Opt. Express 26 (2018) 3108.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import intensity, namespace, on_device, to_host
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.kernels.displace import displacement_sums
from camlink.compute.ptychography.model import windows
from camlink.compute.ptychography.refine.fit import affine_part, over_ranks, places
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]
FRAMES_AT_ONCE: Final = 4
SWEPT_AT_ONCE: Final = 128
REGULAR: Final = 0.05


@dataclass(frozen=True, slots=True)
class Positions:
    """Moves frames by `damping` times the displacement found, by at most `step` [pixel] a turn.

    No frame goes further than `reach` [pixel] from where it came. The mean displacement, which no data tell, stays 0,
    and so do scale, rotation and shear of the scan, which noise tells more about than the data do.
    """

    every: int = 5
    start: int = 10
    damping: float = 1.0
    step: float = 0.5
    reach: float = 6.0

    def apply(self, engine: Engine) -> None:
        """One turn."""
        slots = engine.slots
        found = displacements(engine)
        limit = np.maximum(np.hypot(found[:, 0], found[:, 1]) * self.damping / self.step, 1)
        moved = slots.corners + found * (self.damping / limit)[:, None] - slots.told
        origin = places(engine) - slots.corners  # of the places found, since errors of those told look like a scale
        moved -= affine_part(origin + slots.told + moved, moved, np.ones(len(moved)), over_ranks(engine))
        far = np.maximum(np.hypot(moved[:, 0], moved[:, 1]) / self.reach, 1)
        engine.place(np.arange(engine.active), slots.told + moved / far[:, None])


def displacements(engine: Engine) -> Array:
    """Displacements (n, 2) float64 [pixel] of all active frames, on the host."""
    slope = gradient(engine.image)
    probes = engine.estimate.probes
    space = namespace(engine.image)
    right = [space.zeros((2, 0), engine.image.real.dtype),
             *(_right(part, probes, engine.image, slope) for part in _parts(engine))]
    weight = intensity(engine.probe).sum(axis=0)
    corners = space.asarray(engine.slots.active.corners)
    products = intensity(slope[0]), intensity(slope[1]), (slope[0].conj() * slope[1]).real
    left = [overlap.correlated(product, weight)[corners[:, 0], corners[:, 1]] for product in products]
    yy, xx, yx = to_host(space.stack(left)).astype(np.float64)
    y, x = to_host(space.concatenate(right, axis=1)).astype(np.float64)
    total, count = over_ranks(engine)(np.array([(yy + xx).sum(), len(yy)]))
    regular = REGULAR * total / max(count, 1) + 1e-300
    yy, xx = yy + regular, xx + regular
    under = yy * xx - yx * yx
    return np.stack([(xx * y - yx * x) / under, (yy * x - yx * y) / under], axis=-1)


def gradient(image: Array) -> tuple[Array, Array]:
    """Central differences along y and x (H, W) of an image (H, W)."""
    space = namespace(image)
    return ((space.roll(image, -1, axis=0) - space.roll(image, 1, axis=0)) / 2,
            (space.roll(image, -1, axis=1) - space.roll(image, 1, axis=1)) / 2)


def _parts(engine: Engine) -> Iterator[Active]:
    """All frames, a few at a time on the host; a sweep left no waves, so that after one they are P_a P O."""
    for everything in engine.slots.spans(writing=False):
        count = len(everything.weights)
        scratch = namespace(engine.image).zeros_like(everything.waves[:SWEPT_AT_ONCE]) if engine.swept else None
        several = count if scratch is None else SWEPT_AT_ONCE
        frames = several if on_device(engine.image) else FRAMES_AT_ONCE
        for first in range(0, count, max(several, 1)):
            some = everything.part(slice(first, first + several))
            if scratch is not None:
                some = some.lent(scratch[:len(some.weights)])
                engine.chi(some, probe_sum=False)
            for start in range(0, len(some.weights), frames):
                yield some.part(slice(start, start + frames))


def _right(part: Active, probes: Array, image: Array, slope: tuple[Array, Array]) -> Array:
    """Re sum (P slope)* (z - P O) of every frame, for both slopes (2, n)."""
    if on_device(image) and image.dtype == np.complex64:
        return displacement_sums(part, probes, image, slope)
    frame = (probes.shape[-2], probes.shape[-1])
    probe = probes if len(probes) == 1 else probes[part.shifts]
    gap = probe * windows(image, part.corners, frame)[:, None]
    gap -= part.waves
    gap *= probe.conj()
    gap = gap.sum(axis=1)
    sums = [-(windows(along, part.corners, frame).conj() * gap).real.sum(axis=(1, 2)) for along in slope]
    return namespace(image).stack(sums)  # type: ignore[no-any-return]
