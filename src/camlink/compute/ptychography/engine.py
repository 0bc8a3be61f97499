"""Engine: iterates the frames that are there, refines object and probe, and takes new frames between two iterations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import address, intensity
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.algorithm import Blend, Rule, ap
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.kernel import Estimate, Kernel, Sums
from camlink.compute.ptychography.kernels.replay import Replay
from camlink.compute.ptychography.many.exchange import Alone, Exchange
from camlink.compute.ptychography.model import data_misfit, exit_waves, far_field, magnitude
from camlink.compute.ptychography.probe import Constraints, drift
from camlink.compute.ptychography.slots import Active, Slots

Array = NDArray[Any]
IMAGE_DAMPING = 0.01
PROBE_DAMPING = 0.3
"""Object and probe are refined from the same waves at once; without this inertia of the probe RAAR at beta 0.9 blows up
on noisy frames."""
SCRATCH_FRAMES = 64


class Engine:
    """Order A ("overlap inside") with one state array a frame: the object always is the overlap of the waves.

    A frame that arrives gets z_j = P O_j, so that it agrees with what is known and disturbs nothing. `probe` is
    (mode, y, x) with sum|P|^2 = photons of the brightest frame, `image` (H, W).
    They and the slots live where the kernel works, on the host or on a GPU; `put` takes arrays of the host.
    With an `exchange` the geometry and the image are those of a tile, and every method is called on all ranks.
    """

    def __init__(self, geometry: Geometry, slots: Slots, kernel: Kernel, *, probe: Array, image: Array,
                 constraints: Constraints, exchange: Exchange | None = None) -> None:
        take = kernel.space.asarray
        pupil = None if constraints.pupil is None else take(constraints.pupil)
        self.geometry = geometry
        self.kernel = kernel
        self.constraints = Constraints(pupil, constraints.power)
        self.probe = kernel.space.array(probe)
        self.image = kernel.space.array(image)
        self.iteration = 0
        self._slots = slots
        self._exchange = exchange or Alone()
        self._replay = Replay(kernel.space if self._recorded else None)
        self._comb: tuple[Array, Array] | None = None
        self._image_weight: Array | None = None

    @property
    def active(self) -> int:
        """Frames that take part."""
        return self._slots.count

    @property
    def frames(self) -> Active:
        """Views of the frames that take part."""
        return self._slots.active

    @property
    def ages(self) -> Array:
        """Iterations that every active frame has seen (n,)."""
        return self._slots.ages(self.iteration)

    @property
    def coverage(self) -> Array:
        """Illumination sum_j w_j |P(r - r_j)|^2 of every object pixel (H, W) [photon]."""
        if self._image_weight is None:
            self._image_weight = self._light()
            self._exchange.add([self._image_weight])
        return self._image_weight

    def put(self, index: Array, amplitude: Array, corners: Array, weights: Array) -> int:
        """Take frames and give how many found no room.

        index (n,), amplitude (n, y, x) with zero frequency at [0, 0] and MASKED pixels, corners (n, 2) [pixel] on the
        grid, weights (n,).
        """
        slots = [self._slots.claim(int(i)) for i in index]
        rows = [row for row, slot in enumerate(slots) if slot is not None]
        if rows:
            whole = np.rint(corners[rows]).astype(np.int64)
            take = self.kernel.space.asarray
            waves = exit_waves(self.probe, self.image, take(whole))
            self._slots.fill(np.array([slots[row] for row in rows]), self.kernel.arrange(take(amplitude[rows])), waves,
                             corners[rows], weights[rows], self.iteration)
            self._comb = None
        self._image_weight = None
        return len(slots) - len(rows)

    @property
    def estimate(self) -> Estimate:
        """Object and probe as a kernel wants them."""
        return Estimate.plain(self.probe, self.image)

    def iterate(self, rule: Rule | Blend, *, refine_probe: bool = False) -> None:
        """One iteration of every active frame, then the object and, if asked, the probe."""
        rule = rule if isinstance(rule, Rule) else Rule(rule)
        if not self.active and self._exchange.ranks == 1:
            return
        spectrum = self._positions()[1]
        if self._recorded and refine_probe:
            self._image_weight = None  # it is made again with every probe, so that it belongs to what is recorded
        known = () if refine_probe else (self.coverage,)
        places = tuple(address(array) for array in (self.probe, self.image, spectrum, *known))
        self._replay.run((rule, refine_probe, self.active, self.constraints.power, places),
                         lambda: self._pass(rule, refine_probe=refine_probe))
        if refine_probe:
            self._image_weight = None
        self.iteration += 1

    def evidence(self) -> Array:
        """The object (H, W) that the data project the model to, sum w P* P_a P O_j over the coverage.

        Less noisy than the overlap of the waves, which RAAR keeps away from the data; no wave is changed.
        """
        total = np.zeros_like(self.image)
        for everything in self._slots.spans(writing=False):
            waves = np.zeros_like(everything.waves[:SCRATCH_FRAMES])
            for start in range(0, len(everything.weights), SCRATCH_FRAMES):
                part = everything.part(slice(start, start + SCRATCH_FRAMES))
                lent = part.lent(waves[:len(part.weights)])
                total += self.kernel.step(lent, self.estimate, Rule(ap()), probe_sum=False).image
        self._exchange.add([total])
        return self._moved_image(total, self.coverage)

    def fourier_error(self, limit: int | None = None) -> float:
        """|| |F P O_j| - A || / ||A|| over the active frames, or over `limit` of them spread evenly."""
        count = self.active
        step = max(1, -(-count // limit)) if limit else 1
        gap = seen = 0.0
        for start in range(0, count, 32 * step):
            part = self._slots.part(slice(start, start + 32 * step, step))
            model = self.kernel.arrange(magnitude(far_field(exit_waves(self.probe, self.image, part.corners))))
            more_gap, more_seen = data_misfit(model, part.amplitude)
            gap, seen = gap + more_gap, seen + more_seen
        sums = self.kernel.space.array([gap, seen])
        self._exchange.add([], [sums])
        gap, seen = map(float, sums)
        return float(np.sqrt(gap / seen)) if seen > 0 else 0.0

    def centre(self) -> None:
        """Bring the probe back to the middle of its window by whole pixels; object and waves move along."""
        dy, dx = drift(self.probe)
        if (dy, dx) == (0, 0):
            return
        self.probe = np.roll(self.probe, (-dy, -dx), axis=(-2, -1))
        self.image = self._exchange.part(np.roll(self._exchange.whole(self.image), (-dy, -dx), axis=(0, 1)))
        for part in self._slots.spans():
            for start in range(0, len(part.weights), SCRATCH_FRAMES):
                some = part.waves[start:start + SCRATCH_FRAMES]
                some[...] = np.roll(some, (-dy, -dx), axis=(-2, -1))
        self._image_weight = None

    @property
    def _recorded(self) -> bool:
        """Whether an iteration is a row of launches that may be recorded."""
        return self.kernel.recordable and self._slots.resident

    def _pass(self, rule: Rule, *, refine_probe: bool) -> None:
        """The step, then the object and, if asked, the probe: what can be recorded."""
        sums = self._sums(rule, refine_probe=refine_probe)
        images, coverage = [sums.image], self._image_weight
        if coverage is None:
            coverage = self._light()
            images.append(coverage)
        seen = self._seen() if refine_probe else None
        self._exchange.add(images, [] if sums.probes is None or seen is None else [sums.probes, seen])
        self._image_weight = coverage
        image = self._moved_image(sums.image, coverage)
        if sums.probes is not None and seen is not None:
            probe = self.constraints.apply(overlap.moved(self.probe, sums.probes[0], seen, PROBE_DAMPING))
            self.probe = self._renewed(self.probe, probe)
            self._image_weight = None
        self.image = self._renewed(self.image, image)

    def _sums(self, rule: Rule, *, refine_probe: bool) -> Sums:
        """The step of the frames that are here."""
        spans = self._slots.spans()
        total = self.kernel.step(next(spans), self.estimate, rule, probe_sum=refine_probe)
        for part in spans:
            total.add(self.kernel.step(part, self.estimate, rule, probe_sum=refine_probe))
        return total

    def _moved_image(self, step: Array, coverage: Array) -> Array:
        return overlap.moved(self.image, step, coverage, IMAGE_DAMPING, self._exchange.highest(coverage.max()))

    def _light(self) -> Array:
        """The coverage by the frames that are here."""
        modes = intensity(self.probe)
        light = modes[0] if len(modes) == 1 else modes.sum(axis=0)
        comb, spectrum = self._positions()
        return overlap.object_weight(comb, light, spectrum)

    def _seen(self) -> Array:
        """How much of the object the frames that are here have seen in the probe's window, sum w |O_j|^2 (y, x)."""
        comb, spectrum = self._positions()
        return overlap.probe_weight(comb, intensity(self.image), self.geometry.frame, spectrum)

    def _renewed(self, old: Array, new: Array) -> Array:
        """`new`, in the place of `old` where a record holds its address."""
        if not self.kernel.recordable:
            return new
        old[...] = new
        return old

    def _positions(self) -> tuple[Array, Array]:
        """The comb of the active frames (H, W) and its spectrum."""
        if self._comb is None:
            active = self._slots.active
            comb = overlap.comb(active.corners, active.weights, self.geometry.shape)
            self._comb = comb, overlap.spectrum(comb)
        return self._comb
