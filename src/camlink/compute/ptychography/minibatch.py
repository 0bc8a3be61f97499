"""Minibatch: object and probe moved by a few frames at a time, without a stored wave; the way of the first seconds.

With chi_j = P_a(P O_j) - P O_j a batch gives the directions

    d_O = sum w P* chi / ((1-g) W + g max W),   W = sum w |P|^2 over the batch at every object pixel
    d_P = sum w O_j* chi / ((1-g) V + g max V), V = sum w |O_j|^2, as on average

W counts how often the batch sees a pixel, so that no batch size diverges: of all frames at once it is the overlap
projection. g = 1 is ePIE, less is rPIE (Maiden, Johnson and Li, Optica 4 (2017) 736). The lengths of both steps come
from the 2 x 2 least-squares fit of chi by d_O P + d_P O_j (Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26
(2018) 3108), here one pair for a batch. Momentum goes on along the last steps; a pixel that a batch does not see keeps
its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import intensity, namespace
from camlink.compute.ptychography.algorithm import PROJECT
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.model import spread
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]
LONGEST: Final = 2.0
"""Steps are at most this long; beyond 2 a batch fits its own noise."""
DAMPING: Final = 1e-3
SCRATCH_FRAMES: Final = 128
DIM: Final = 0.05
TINY: Final = float(np.finfo(np.float32).tiny)
FEWEST_FRAMES: Final = 8
"""In a batch of `batches`: all frames move the probe, and with momentum one of a few frames throws it off."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How batches move object and probe.

    `regular` is g above, `fitted` whether the lengths are fitted or 1, `momentum` the part of the last step that goes
    on (0 to below 1). A sweep has `batches`, or as many as it takes with `frames` in each.
    """

    regular: float = 0.1
    fitted: bool = True
    momentum: float = 0.0
    batches: int = 8
    frames: int = 0

    def split(self, count: int) -> int:
        """Number of batches for `count` frames."""
        return max(1, -(-count // self.frames) if self.frames else min(self.batches, count // FEWEST_FRAMES))


class _Batch(NamedTuple):
    """Rows (n,) of a span of frames."""

    span: Active
    rows: Array

    @property
    def weights(self) -> Array:
        """Weights (n,)."""
        return self.span.weights[self.rows]

    @property
    def corners(self) -> Array:
        """Corners (n, 2) [pixel]."""
        return self.span.corners[self.rows]


@dataclass(frozen=True, slots=True)
class _Pull:
    """Where a batch wants to go: sums of P* chi (H, W) and O* chi (mode, y, x), over W (H, W) and V (y, x).

    The directions are the sums over the regularised weights; without the probe its parts are None.
    """

    image: Array
    light: Array
    forward: Array
    trust: Array
    probe: Array | None = None
    seen: Array | None = None
    sideways: Array | None = None


class Minibatch:
    """Sweeps over the frames of an engine in batches drawn by lot; the same seed draws the same batches.

    The waves of the engine are neither read nor written: who iterates them next must not look at them (Blend.afresh).
    """

    def __init__(self, engine: Engine, seed: int = 0) -> None:
        self._engine = engine
        self._seed = seed
        self._speed: tuple[Array, Array] | None = None
        self._lit: Array = engine.kernel.space.zeros_like(engine.image.real)

    def rest(self) -> None:
        """Forget the momentum: the grid has moved under it."""
        self._speed = None

    def sweep(self, manner: Manner, *, refine_probe: bool) -> float:
        """Every active frame once.

        Gives the gain, the root of what the steps explained of all chi over that of all photons: it falls until
        little but noise is fitted.
        """
        engine, gain = self._engine, 0.0
        seen = engine.seen() / max(engine.active, 1) if refine_probe else None
        random = np.random.default_rng((self._seed, engine.iteration))
        self._lit = engine.kernel.space.zeros(engine.image.shape, engine.image.real.dtype)
        for span in engine.slots.spans(writing=False):
            count = len(span.weights)
            parts = max(1, round(manner.split(engine.active) * count / max(engine.active, 1)))
            for rows in np.array_split(random.permutation(count), parts):
                gain += self._step(_Batch(span, engine.kernel.space.asarray(np.sort(rows))), seen, manner)
        self._brake()
        if refine_probe:
            self._obey()
        for after in engine.object_steps:
            engine.image[...] = after.apply(engine.image, PROJECT.stiffness * engine.coverage)
        engine.turn(swept=True)
        return float(np.sqrt(float(gain) / max(engine.active * engine.constraints.power, 1.0)))

    def _step(self, part: _Batch, seen: Array | None, manner: Manner) -> Any:
        """One batch; gives how much of chi it explained. `seen` (y, x) is what a frame sees on average, |O_j|^2."""
        engine = self._engine
        pull = self._pull(part, seen, manner.regular)
        far, wide = self._lengths(part, pull) if manner.fitted else (1.0, 1.0)
        gain = far * _inner(pull.forward, pull.image)
        speed, probe_speed = self._momentum()
        step = far * pull.forward
        engine.image += step + manner.momentum * pull.trust * speed
        speed *= 1 - (1 - manner.momentum) * pull.trust
        speed += step
        self._lit += pull.light
        if pull.sideways is not None and pull.probe is not None:
            gain += wide * _inner(pull.sideways, pull.probe)
            probe_speed *= manner.momentum
            probe_speed += wide * pull.sideways
            engine.probe = engine.probe + probe_speed
        return gain

    def _pull(self, part: _Batch, seen: Array | None, regular: float) -> _Pull:
        engine = self._engine
        image, probe = self._chi(part, probe_sum=seen is not None)
        light = spread(intensity(engine.probe).sum(axis=0), part.weights, part.corners, engine.geometry.shape)
        under = _above(light, regular)
        if probe is None or seen is None:
            return _Pull(image, light, image / under, light / under)
        seen = (part.weights.sum() * seen).astype(light.dtype)
        return _Pull(image, light, image / under, light / under, probe, seen, probe / _above(seen, regular))

    def _chi(self, part: _Batch, *, probe_sum: bool) -> tuple[Array, Array | None]:
        """Engine.chi of the batch, SCRATCH_FRAMES at a time, so that no batch needs more memory than that."""
        waves = np.zeros_like(part.span.waves[:min(len(part.rows), SCRATCH_FRAMES)])
        image: Any = 0.0
        probe: Any = 0.0
        for start in range(0, len(part.rows), SCRATCH_FRAMES):
            rows = part.rows[start:start + SCRATCH_FRAMES]
            of_image, of_probe = self._engine.chi(part.span.some(rows, waves[:len(rows)]), probe_sum=probe_sum)
            image, probe = image + of_image, probe if of_probe is None else probe + of_probe
        return image, probe if probe_sum else None

    def _lengths(self, part: _Batch, pull: _Pull) -> tuple[Any, Any]:
        """The lengths of both steps that explain most of chi, 0 to LONGEST; numbers that stay where they are made."""
        space, engine = namespace(pull.image), self._engine
        one = _inner(pull.forward, pull.image)
        one_one = (1 + DAMPING) * (intensity(pull.forward) * pull.light).sum() + TINY
        if pull.sideways is None or pull.probe is None or pull.seen is None:
            return space.clip(one / one_one, 0, LONGEST).astype(pull.light.dtype), 0.0
        two = _inner(pull.sideways, pull.probe)
        two_two = (1 + DAMPING) * (intensity(pull.sideways) * pull.seen).sum() + TINY
        overlap = (engine.probe.conj() * pull.sideways).sum(axis=0)
        both = spread(overlap, part.weights, part.corners, engine.geometry.shape)
        one_two = _inner(pull.forward, both * engine.image)
        alone, other, aside, across = one / one_one, two / two_two, one_two / one_one, one_two / two_two
        apart = 1 - aside * across
        far, wide = (space.clip(length, 0, LONGEST).astype(pull.light.dtype)
                     for length in ((alone - aside * other) / apart, (other - across * alone) / apart))
        return far, wide

    def _momentum(self) -> tuple[Array, Array]:
        engine = self._engine
        if self._speed is None or self._speed[1].shape != engine.probe.shape:
            space = engine.kernel.space
            self._speed = space.zeros_like(engine.image), space.zeros_like(engine.probe)
        return self._speed

    @property
    def _share(self) -> Array:
        """How well every object pixel (H, W) was lit in this sweep: near 1, or near 0 where there is little light."""
        return self._lit / (self._lit + (DIM * self._lit.max() + TINY))  # type: ignore[no-any-return]

    def _brake(self) -> None:
        """Slow down where the scan has little light: there noise alone is fitted, and momentum would gather it."""
        speed, _ = self._momentum()
        speed *= self._share

    def _obey(self) -> None:
        """The constraints of the probe; the object takes over what its power has too much, so that no model changes.

        But for what has no light: the power drifts a little in every sweep, and nothing would ever bring that back.
        """
        engine = self._engine
        now = intensity(engine.probe).sum()
        factor = namespace(now).sqrt(now / engine.constraints.power if engine.constraints.power else now)
        factor = namespace(now).where(factor > 0, factor, 1).astype(engine.probe.real.dtype)
        engine.image *= 1 + (factor - 1) * self._share
        speed, probe_speed = self._momentum()
        speed *= factor
        probe_speed /= factor
        engine.probe = engine.constraints.apply(engine.probe)


def _above(weight: Array, regular: float) -> Array:
    """(1-g) weight + g max(weight), and never 0."""
    return ((1 - regular) * weight + (regular * weight.max() + TINY)).astype(weight.dtype)  # type: ignore[no-any-return]


def _inner(one: Array, other: Array) -> Any:
    """Re sum conj(one) other: a number where the arrays are."""
    return namespace(one).vdot(one, other).real
