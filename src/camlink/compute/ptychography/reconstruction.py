"""Reconstruction: one scan from its first frames to its picture; takes blocks at any time, iterates when told."""

from __future__ import annotations

import weakref
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.block import CountFrames, Fact, Result, Scan
from camlink.compute.arrays import to_host
from camlink.compute.ptychography.algorithm import Blend, Rule
from camlink.compute.ptychography.checkpoint import Checkpoint
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.intake import Batch, Intake, joined
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.kernel import Kernel
from camlink.compute.ptychography.many.chunks import slots_for
from camlink.compute.ptychography.many.start import seats_for
from camlink.compute.ptychography.many.team import Seats, Team
from camlink.compute.ptychography.minibatch import Minibatch
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.picture import flattened, free_phase, ramp, turned
from camlink.compute.ptychography.probe import Constraints, first_probe, scaled, support, window
from camlink.compute.ptychography.propagator import FAR_FIELD, Propagator, near_field
from camlink.compute.ptychography.refine.modes import first_modes, orthogonal
from camlink.compute.ptychography.refine.wanted import object_steps, refinements, shows_itself
from camlink.compute.ptychography.room import check_room, needed_bytes
from camlink.compute.ptychography.schedule import Condition, Schedule, Step, Sweep
from camlink.compute.ptychography.start import first_image, focused_probe, mean_pattern
from camlink.errors import FormatError, ParameterError

Array = NDArray[Any]
REAL = np.dtype(np.float32)
ERROR_FRAMES = 64
CENTRE_EVERY = 10
RESTLESS = 1.5


class Reconstruction:
    """Gathers the first frames, starts the engine on them, and adds the others as they come.

    With `workers` other than 1 it starts processes, which `close` ends; `seats` are those of others, as of MPI.
    Raises FormatError when the scan has no frames to expect, no usable geometry, or more frames than memory holds.
    """

    def __init__(self, scan: Scan, parameters: SolveParameters, seats: Seats | None = None) -> None:
        if scan.expected < 1:
            raise FormatError(f"scan '{scan.id}' expects {scan.expected} frames; "
                              "the source must say how many will come")
        self.scan = scan
        self.parameters = parameters
        near = near_field(scan, parameters.focus_m) if parameters.regime == "near" else None
        self.propagator: Propagator = near or FAR_FIELD
        self.geometry = Geometry.of(scan, parameters.margin, near.pixel_m if near else None)
        check_room(scan, self.memory_bytes, parameters.kernel)
        self.engine: Engine | Team | None = None
        self._seats = seats or seats_for(parameters.workers, parameters.kernel)
        space = np if self._seats else self._kernel(parameters.modes).space
        self.intake = Intake(self.geometry, parameters.saturated_photon, space, far=near is None)
        self._free = weakref.finalize(self, self._seats.close) if self._seats else None
        self.changes = 0
        self._gathered: list[Batch] = []
        self._corrections: dict[int, Array] = {}
        self._seen: set[int] = set()
        self._given: Array | None = None
        self._shown: Array | None = None
        self._brightest = 0.0
        self._spent_s = 0.0
        self._error = 0.0
        self._best_error = np.inf
        self._batches: Minibatch | None = None
        self._gain: float | None = None
        self._kept: Checkpoint | None = None

    @property
    def memory_bytes(self) -> int:
        """Memory that the whole scan is going to need, here and on GPUs together."""
        return needed_bytes(self.scan, self.geometry, self.parameters.modes)

    @property
    def ready(self) -> bool:
        """Whether the first frames are there and the engine is not started yet."""
        first = len(self._kept.index) if self._kept else Schedule(self.parameters).first_frames(self.scan.expected)
        return self.engine is None and len(self._seen) >= first

    @property
    def active(self) -> int:
        """Frames that take part."""
        return self.engine.active if self.engine else 0

    @property
    def stood(self) -> Checkpoint | None:
        """From where it goes on, if all frames of that time and no others are there."""
        return self._kept if self._kept and self._kept.index.size == len(self._seen) else None

    def absorb(self, block: CountFrames) -> None:
        """Take a block: before the start it is kept, afterwards its frames become active at once.

        A frame that comes again takes the place of the old one. A block whose frames have no pixels, (n, 0, 0), tells
        better positions: they hold for the frames that are there and for those to come, whatever those say themselves.
        """
        if self._given is None and "probe" in block.arrays:
            self._given = self._checked_probe(block.arrays["probe"])
        if block.count and block.frames[0].size == 0:
            self._correct(self.intake.corrections(block))
            return
        batch = self._corrected(self.intake.read(block))
        if not len(batch):
            return
        self.changes += 1
        indices = set(batch.index.tolist())
        self.intake.counts["replaced"] += len(indices & self._seen)
        self._seen |= indices
        self._brightest = max(self._brightest, float(batch.photons.max()))
        if self.engine is None:
            self._gathered.append(batch)
        else:
            self._put(self.engine, batch)

    def keep(self, *, settled: bool) -> Result | None:
        """What another reconstruction of this scan takes to `go_on` from here; None before the start."""
        if self.engine is None:
            return None
        return Checkpoint.of(self.engine, settled=settled).block(self.scan, self.parameters)

    def go_on(self, kept: Result) -> int:
        """Start where `keep` was called, as soon as the frames of that time are there; gives its iteration.

        Raises FormatError when that was another scan or had other parameters.
        """
        self._kept = Checkpoint.read(kept, self.scan, self.geometry, self.parameters)
        return self._kept.iteration

    def begin(self) -> None:
        """Start the engine on what was gathered; without a single frame nothing happens."""
        if not self._gathered:
            return
        batch, kept = joined(self._gathered), self._kept
        self._gathered = []
        power = kept.power if kept else self._brightest or 1.0
        mean = mean_pattern(batch)
        probe = (kept.arrays["probe"] if kept
                 else first_modes(self._start_probe(batch, mean, power), self.parameters.modes))
        level, part = self.parameters.probe_support, self.parameters.probe_window
        far = self.propagator is FAR_FIELD
        constraints = Constraints(support(mean, level) if level and far else None, power,
                                  window(self.geometry.frame, part) if part else None)
        image = kept.arrays["object"] if kept else first_image(batch, probe, self.geometry)
        self.engine = (self._team(self._seats, batch, probe, to_host(image), constraints) if self._seats
                       else self._alone(probe, image, constraints))
        if kept:
            self.intake.counts["unexpected"] += kept.put(self.engine, batch)
        else:
            self._put(self.engine, batch)

    def advance(self, step: Step | Blend) -> None:
        """One iteration or one sweep, with the probe when its turn has come."""
        engine = self.engine
        if engine is None:
            return
        started = perf_counter()
        every, start = self.parameters.probe_every, self.parameters.probe_start
        if isinstance(step, Sweep):
            refine = every > 0 and engine.iteration % every == 0
            self._sweep(step, refine_probe=refine)
        else:
            refine = every > 0 and engine.iteration >= start and (engine.iteration - start) % every == 0
            engine.iterate(self._rule(step), refine_probe=refine)
        if refine and engine.iteration % CENTRE_EVERY == 0 and engine.centre() and self._batches is not None:
            self._batches.rest()
        self._spent_s = perf_counter() - started

    def change(self, parameters: SolveParameters) -> None:
        """Go on with other parameters; those that what is there was made with have to be the same."""
        self.parameters = parameters
        if isinstance(self.engine, Engine):
            self.engine.refinements, self.engine.object_steps = refinements(parameters), object_steps(parameters)
            self.engine.forget()

    def arrays(self) -> dict[str, Array]:
        """Copies for a Result: object (H, W) and probe (mode, y, x) complex64, coverage (H, W) float32 in 0..1."""
        engine = self.engine
        if engine is None:
            return {}
        coverage = to_host(engine.coverage)
        coverage = coverage / max(float(coverage.max(initial=0.0)), np.finfo(np.float64).tiny)
        image = to_host(engine.image if shows_itself(self.parameters) else engine.evidence())
        probe = to_host(engine.probe)
        if self.parameters.flatten and self.parameters.object_kind == "complex":
            image, probe = flattened(image, probe, ramp(image, coverage))
        image, probe = turned(image, probe, free_phase(image, self._shown, coverage))
        if self.parameters.modes > 1:
            probe = orthogonal(probe, np.eye(len(probe)))
        brighter = np.sqrt(self._brightest / engine.constraints.power) if self._brightest else 1.0
        self._shown = image
        return {"object": (image / brighter).astype(np.complex64), "probe": (probe * brighter).astype(np.complex64),
                "coverage": coverage.astype(np.float32)}

    @property
    def condition(self) -> Condition:
        """What a Schedule wants to know; restless: a smaller relaxation is called for.

        Where iterations are recorded one of all frames costs less than the small launches of a sweep.
        """
        sweeps = isinstance(self.engine, Engine) and not self.engine.kernel.recordable
        return Condition(self.changes, self._gain, restless=self._error > RESTLESS * self._best_error, sweeps=sweeps)

    def facts(self, *, final: bool) -> dict[str, Fact]:
        """Scalars for a Result; the Fourier error of a version that is not final is taken on some of the frames."""
        engine = self.engine
        if engine is None:
            return {}
        self._error = engine.fourier_error(None if final else ERROR_FRAMES)
        self._best_error = min(self._best_error, self._error)
        origin, pixel = self.geometry.origin_m, self.geometry.pixel_m
        return {
            "iteration": engine.iteration,
            "fourier_error": self._error,
            "active": engine.active,
            "expected": self.scan.expected,
            "object_pixel_y_m": pixel[0],
            "object_pixel_x_m": pixel[1],
            "origin_y_m": origin[0],
            "origin_x_m": origin[1],
            "final": final,
            "kernel": engine.kernel.name,
            "frames_in": engine.slots.room,
            "workers": self._seats.ranks if self._seats else 1,
            "ms_per_iteration": 1e3 * self._spent_s,
        }

    def close(self) -> None:
        """End the processes that share the scan, if there are any; nothing can be done afterwards."""
        if isinstance(self.engine, Team):
            self.engine.close()
        if self._free is not None:
            self._free()

    def _sweep(self, step: Sweep, *, refine_probe: bool) -> None:
        if not isinstance(self.engine, Engine):
            raise ParameterError(f"algorithm '{self.parameters.algorithm}' works in one process; choose workers 1, or "
                                 "one of auto, raar, dm and ap")
        if self._batches is None:
            self._batches = Minibatch(self.engine, self.parameters.seed)
        self._gain = self._batches.sweep(step.manner, refine_probe=refine_probe)

    def _rule(self, step: Rule | Blend) -> Rule:
        """The rule of an iteration; after a sweep it does not look at the waves, which the sweep did not touch."""
        rule = step if isinstance(step, Rule) else Rule(step)
        swept = isinstance(self.engine, Engine) and self.engine.swept
        return Rule(rule.blend.afresh, rule.term) if swept else rule

    def _kernel(self, modes: int) -> Kernel:
        return choose(self.parameters.kernel, self.geometry.frame, modes, REAL, self.propagator,
                      ordered=self.parameters.ordered)

    def _alone(self, probe: Array, image: Array, constraints: Constraints) -> Engine:
        kernel = self._kernel(len(probe))
        slots = slots_for(self.scan.expected, len(probe), self.geometry.frame, REAL, kernel.space)
        return Engine(self.geometry, slots, kernel, probe=probe, image=image, constraints=constraints,
                      fractions=self.parameters.fractions, refinements=refinements(self.parameters),
                      object_steps=object_steps(self.parameters))

    def _team(self, seats: Seats, batch: Batch, probe: Array, image: Array, constraints: Constraints) -> Team:
        if self.propagator is not FAR_FIELD:
            raise ParameterError("the near field is for one process; choose workers 1")
        everything = batch.corners if len(batch) == self.scan.expected else None
        return Team(seats, self.geometry, self.scan.expected, kernel=self.parameters.kernel, real=REAL, probe=probe,
                    image=image, constraints=constraints, fractions=self.parameters.fractions, refined=self.parameters,
                    corners=everything)

    def _correct(self, corrections: dict[int, Array]) -> None:
        """Move frames to where they were in truth."""
        self._corrections |= corrections
        self.intake.counts["moved"] += len(corrections)
        self._gathered = [self._corrected(batch) for batch in self._gathered]
        if isinstance(self.engine, Team):
            self.intake.counts["not_moved"] += len(corrections)
        elif self.engine is not None and corrections:
            self.engine.move(np.array(list(corrections)), np.stack(list(corrections.values())))
        self.changes += bool(corrections)

    def _corrected(self, batch: Batch) -> Batch:
        if not self._corrections:
            return batch
        corners = [self._corrections.get(int(index), corner)
                   for index, corner in zip(batch.index, batch.corners, strict=True)]
        return replace(batch, corners=np.array(corners).reshape(-1, 2))

    def _put(self, engine: Engine | Team, batch: Batch) -> None:
        self.intake.counts["unexpected"] += engine.put(batch.index, batch.amplitude, batch.corners, batch.weights)

    def _start_probe(self, batch: Batch, mean: Array, power: float) -> Array:
        optics = self.scan.optics
        guess = self.parameters.probe_guess
        if self._given is not None:
            return scaled(self._given, power)
        if self.propagator is not FAR_FIELD:
            return scaled(self.propagator.adjoint(np.sqrt(mean)[None]).astype(np.complex64), power)
        if guess == "optics" and optics is None:
            raise FormatError(f"scan '{self.scan.id}' tells no optics, so the start probe cannot be made from them; "
                              "choose probe_guess 'data'")
        if optics is not None and guess != "data":
            return first_probe(mean, self.scan, optics.defocus_m, power)
        return focused_probe(batch, self.scan, self.geometry, power)

    def _checked_probe(self, probe: Array) -> Array:
        if probe.ndim != 3 or probe.shape[1:] != self.geometry.frame or not np.isfinite(probe).all():
            raise FormatError(f"scan '{self.scan.id}': the start probe has shape {probe.shape}, expected "
                              f"(modes, {self.geometry.frame[0]}, {self.geometry.frame[1]}) and finite values")
        return np.asarray(probe, np.complex64)
