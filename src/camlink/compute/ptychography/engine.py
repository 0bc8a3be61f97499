"""Engine: iterates the frames that are there, refines object and probe, and takes new frames between two iterations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import address, intensity, on_device, to_host
from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.algorithm import Blend, Rule, ap
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.kernel import Estimate, Kernel, Sums
from camlink.compute.ptychography.kernels.replay import Replay
from camlink.compute.ptychography.many.exchange import Exchange
from camlink.compute.ptychography.model import data_misfit, exit_waves, magnitude
from camlink.compute.ptychography.probe import Constraints, drift
from camlink.compute.ptychography.shift import Shifts
from camlink.compute.ptychography.slots import Active, Slots

Array = NDArray[Any]
IMAGE_DAMPING = 0.01
PROBE_DAMPING = 0.3
"""Object and probe are refined from the same waves at once; without this inertia of the probe RAAR at beta 0.9 blows up
on noisy frames."""
SCRATCH_FRAMES = 64
MOVED_ON_GPU = 128


class ObjectStep(Protocol):
    """What follows every update of the object and is recorded with it."""

    def apply(self, image: Array, weight: Array) -> Array:
        """The object (H, W) made to obey; `weight` (H, W) is its illumination times the stiffness of the data term."""
        ...


class Refinement(Protocol):
    """What is refined between two iterations, every so often."""

    @property
    def every(self) -> int:
        """Iterations between two turns."""
        ...

    @property
    def start(self) -> int:
        """Iteration of the first turn."""
        ...

    def apply(self, engine: Engine) -> None:
        """One turn."""
        ...


class Engine:
    """Order A ("overlap inside") with one state array a frame: the object always is the overlap of the waves.

    A frame that arrives gets z_j = P O_j, so that it agrees with what is known and disturbs nothing. `probe` is
    (mode, y, x) with sum|P|^2 = photons of the brightest frame, `image` (H, W).
    They and the slots live where the kernel works, on the host or on a GPU; `put` takes arrays of the host.
    Positions are rounded to 1/`fractions` of a pixel. `object_steps` act on every new object; `refinements` have their
    turns between iterations.
    With an `exchange` the geometry and the image are those of a tile, and every method is called on all ranks.
    """

    def __init__(self, geometry: Geometry, slots: Slots, kernel: Kernel, *, probe: Array, image: Array,
                 constraints: Constraints, fractions: int = 1, object_steps: Sequence[ObjectStep] = (),
                 refinements: Sequence[Refinement] = (), exchange: Exchange | None = None) -> None:
        self.geometry = geometry
        self.kernel = kernel
        self.constraints = constraints.taken(kernel.space)
        self.image = kernel.space.array(image)
        self.background: Array | None = None
        self.object_steps = object_steps
        self.refinements = refinements
        self.iteration = 0
        self.swept = False
        self._probe: Array = kernel.space.array(probe)
        self._shifts = Shifts(fractions, geometry.frame, self._probe)
        self._probes: Array | None = None
        self._slots = slots
        self._exchange = exchange or Exchange()
        self._replay = Replay(kernel.space if self._recorded else None, self._exchange.wait)
        self._comb: tuple[Array, Array] | None = None
        self._comb_is_old = False
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
    def slots(self) -> Slots:
        """What is kept of every frame."""
        return self._slots

    @property
    def probe(self) -> Array:
        """Probe (mode, y, x)."""
        return self._probe

    @probe.setter
    def probe(self, probe: Array) -> None:
        self._probe = self._renewed(self._probe, probe)
        if self._probes is not None:
            self._probes[...] = self._shifts.table(self._probe)
        self._image_weight = None

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

    def seen(self) -> Array:
        """How much of the object the frames that are here have seen in the probe's window, sum w |O_j|^2 (y, x)."""
        comb, spectrum = self._positions()
        return overlap.probe_weight(comb, intensity(self.image), self.geometry.frame, spectrum)

    def put(self, index: Array, amplitude: Array, corners: Array, weights: Array) -> int:
        """Take frames and give how many found no room.

        index (n,), amplitude (n, y, x) with zero frequency at [0, 0] and MASKED pixels, corners (n, 2) [pixel] on the
        grid, weights (n,). A frame that comes again takes its old place and starts anew.
        """
        slots = [self._slots.claim(int(i)) for i in index]
        rows = [row for row, slot in enumerate(slots) if slot is not None]
        if rows:
            take = self.kernel.space.asarray
            places = self._shifts.places(corners[rows], self._most)
            waves = exit_waves(self._table(shifted=bool(places.rows.any()))[take(places.rows)], self.image,
                               take(places.whole))
            self._slots.fill(np.array([slots[row] for row in rows]), self.kernel.arrange(take(amplitude[rows])), waves,
                             places, weights[rows], self.iteration)
            self._comb_is_old = True
        self._image_weight = None
        return len(slots) - len(rows)

    def move(self, index: Array, corners: Array) -> int:
        """Take better corners (n, 2) [pixel] for frames `index` (n,), which count as new; gives how many never came."""
        slots = self._slots.find(index)
        known = slots >= 0
        self.place(slots[known], corners[known])
        self._slots.renew(slots[known], corners[known], self.iteration)
        return int((~known).sum())

    def place(self, slots: Array, corners: Array) -> None:
        """Let the frames in `slots` (n,) lie at other corners (n, 2) [pixel]; waves move along with the fraction."""
        self._image_weight = None
        if not len(slots):
            return
        before = to_host(self._slots.active.shifts)[slots]
        places = self._shifts.places(np.clip(corners, 0, self._most), self._most)
        self._table(shifted=bool(places.rows.any()))
        changed = np.flatnonzero(before != places.rows)
        by = self._shifts.fractions(places.rows) - self._shifts.fractions(before)
        first = 0
        for part in self._slots.spans():
            here = changed[(slots[changed] >= first) & (slots[changed] < first + len(part.weights))]
            together = MOVED_ON_GPU if on_device(part.waves) else SCRATCH_FRAMES
            for start in range(0, len(here), together):
                some = here[start:start + together]
                rows = self.kernel.space.asarray(slots[some] - first)
                part.waves[rows] = self._shifts.moved(part.waves[rows], by[some])
            first += len(part.weights)
        self._slots.place(slots, places)
        self._comb_is_old = True

    @property
    def estimate(self) -> Estimate:
        """Object, probe and background as a kernel wants them."""
        return Estimate(self._table(shifted=self._slots.shifted), self.image, self.background)

    def looks(self, limit: int | None = None) -> Iterator[tuple[Active, Array]]:
        """Frames, some at a time, with the amplitudes (n, y, x) that object and probe predict for them.

        Both arranged and without gain and background; of all active frames, or of `limit` of them spread evenly.
        """
        step = max(1, -(-self.active // limit)) if limit else 1
        probes = self.estimate.probes
        for start in range(0, self.active, SCRATCH_FRAMES * step):
            part = self._slots.part(slice(start, start + SCRATCH_FRAMES * step, step))
            field = self.kernel.propagator.forward(exit_waves(probes[part.shifts], self.image, part.corners))
            yield part, self.kernel.arrange(magnitude(field))

    def iterate(self, rule: Rule | Blend, *, refine_probe: bool = False) -> None:
        """One iteration of every active frame, then the object and, if asked, the probe."""
        rule = rule if isinstance(rule, Rule) else Rule(rule)
        if not self.active and self._exchange.ranks == 1:
            return
        spectrum = self._positions()[1]
        if self._recorded and refine_probe:
            self._image_weight = None  # it is made again with every probe, so that it belongs to what is recorded
        known = () if refine_probe else (self.coverage,)
        estimate = self.estimate
        more = () if self.background is None else (self.background,)
        places = tuple(address(array) for array in (estimate.probes, self._probe, self.image, spectrum, *known, *more))
        self._replay.run((rule, refine_probe, self.active, self.constraints.power, places),
                         lambda: self._pass(rule, refine_probe=refine_probe))
        if refine_probe:
            self._image_weight = None
        self.turn()

    def turn(self, *, swept: bool = False) -> None:
        """Count an iteration, or a sweep that left the waves as they were, and let refinements act whose turn it is."""
        self.iteration += 1
        self.swept = swept
        for refinement in self.refinements:
            if self.iteration >= refinement.start and (self.iteration - refinement.start) % refinement.every == 0:
                refinement.apply(self)

    def chi(self, part: Active, *, probe_sum: bool) -> tuple[Array, Array | None]:
        """How the data would change frames whose waves are lent: chi = P_a P O_j - P O_j.

        Gives sum w P* chi (H, W) and, when asked, sum w O_j* chi (mode, y, x).
        """
        sums = self.kernel.step(part, self.estimate, Rule(ap()), probe_sum=probe_sum)
        return sums.image, None if sums.probes is None else self._joined(sums.probes)

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
        gap = seen = 0.0
        for part, model in self.looks(limit=limit):
            if self.background is not None:
                model = np.sqrt(model**2 + self.background)
            more_gap, more_seen = data_misfit(model, part.gains[:, None, None] * part.amplitude)
            gap, seen = gap + more_gap, seen + more_seen
        sums = self.kernel.space.array([gap, seen])
        self._exchange.add([], [sums])
        gap, seen = map(float, sums)
        return float(np.sqrt(gap / seen)) if seen > 0 else 0.0

    def centre(self) -> bool:
        """Bring the probe back to the middle of its window by whole pixels; object and waves move along.

        Gives whether anything had to be moved.
        """
        dy, dx = drift(self.probe)
        if (dy, dx) == (0, 0):
            return False
        self.probe = np.roll(self.probe, (-dy, -dx), axis=(-2, -1))
        self.image = self._exchange.part(np.roll(self._exchange.whole(self.image), (-dy, -dx), axis=(0, 1)))
        for part in self._slots.spans():
            for start in range(0, len(part.weights), SCRATCH_FRAMES):
                some = part.waves[start:start + SCRATCH_FRAMES]
                some[...] = np.roll(some, (-dy, -dx), axis=(-2, -1))
        self._image_weight = None
        return True

    def restart(self, probe: Array) -> None:
        """Go on with another probe (mode, y, x), and with waves that agree with it and with the object."""
        self.probe = probe
        probes = self.estimate.probes
        for everything in self._slots.spans():
            for start in range(0, len(everything.weights), SCRATCH_FRAMES):
                part = everything.part(slice(start, start + SCRATCH_FRAMES))
                part.waves[...] = exit_waves(probes[part.shifts], self.image, part.corners)

    def add_over_ranks(self, *sums: Array) -> None:
        """Add arrays of the kernel's memory over all ranks that share the scan, in place."""
        self._exchange.add([], sums)

    def forget(self) -> None:
        """Let go of the recorded iteration: what it exchanges through cannot be closed before."""
        self._replay.forget()

    @property
    def _recorded(self) -> bool:
        """Whether an iteration is a row of launches that may be recorded."""
        return self.kernel.recordable and self._slots.resident

    def _pass(self, rule: Rule, *, refine_probe: bool) -> None:
        """The step, then the object and, if asked, the probe: what can be recorded."""
        known = self._image_weight
        with self._replay.beside():  # what the sums are divided by needs nothing of them
            coverage = self._light() if known is None else known
            seen = self.seen() if refine_probe else None
        sums = self._sums(rule, refine_probe=refine_probe)
        self._replay.join()
        images = [sums.image, coverage] if known is None else [sums.image]
        step = None
        if sums.probes is not None:
            step = self._joined(sums.probes)
        self._exchange.add(images, [] if step is None or seen is None else [step, seen])
        self._image_weight = coverage
        image = self._obeying(self._moved_image(sums.image, coverage), rule.term.stiffness * coverage)
        if step is not None and seen is not None:
            self.probe = self.constraints.apply(overlap.moved(self._probe, step, seen, PROBE_DAMPING))
        self.image = self._renewed(self.image, image)

    def _obeying(self, image: Array, weight: Array) -> Array:
        """The object after its steps, which see all of it."""
        if not self.object_steps:
            return image
        image, weight = self._exchange.whole(image), self._exchange.whole(weight)
        for after in self.object_steps:
            image = after.apply(image, weight)
        return self._exchange.part(image)

    def _joined(self, probes: Array) -> Array:
        """Sums (shift, mode, y, x) of every fraction of a pixel as that of the probe itself (mode, y, x)."""
        return probes[0] if self._probes is None else self._shifts.adjoint(probes)

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

    def _renewed(self, old: Array, new: Array) -> Array:
        """`new`, in the place of `old` where a record holds its address."""
        if not self.kernel.recordable:
            return new
        old[...] = new
        return old

    @property
    def _most(self) -> tuple[int, int]:
        """The last corner on the grid."""
        (height, width), (rows, columns) = self.geometry.shape, self.geometry.frame
        return height - rows, width - columns

    def _table(self, *, shifted: bool) -> Array:
        """The probe alone (1, mode, y, x), or moved by every fraction from the first time that a frame asks for it."""
        if self._probes is None and shifted:
            self._probes = self._shifts.table(self._probe)
        return self._probe[None] if self._probes is None else self._probes

    def _positions(self) -> tuple[Array, Array]:
        """The comb of the active frames (H, W) and its spectrum."""
        if self._comb is None or self._comb_is_old:
            active = self._slots.active
            comb = overlap.comb(active.corners, active.weights, self.geometry.shape)
            made = comb, overlap.spectrum(comb)
            kept = self._comb or made
            self._comb = self._renewed(kept[0], made[0]), self._renewed(kept[1], made[1])
            self._comb_is_old = False
        return self._comb
