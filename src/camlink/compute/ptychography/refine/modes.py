"""Modes: several incoherent probe modes, found by a fit of the counts in the span of what the beam may be made of.

Modes grow slowly by projections: their power hardly shows in the phase of a wave. But in the span of given fields f_k
the counts are linear in a small matrix, sum_kl H_kl F(f_k O) F(f_l O)*, so that it is found by least squares; its
eigenvectors are the coherent modes of the beam (Wolf, J. Opt. Soc. Am. 72 (1982) 343). The span holds the present modes
and the first one moved by some pixels: a beam that is not quite coherent is a sum of moved ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import namespace, to_host
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.model import windows
from camlink.compute.ptychography.probe import scaled

Array = NDArray[Any]
MOVES: Final = ((2, 0), (-2, 0), (0, 2), (0, -2))
FRAMES: Final = 32
FRAMES_AT_ONCE: Final = 8
REGULAR: Final = 1e-6


def first_modes(probe: Array, count: int) -> Array:
    """A probe (mode, y, x) of the host with dark modes added, to (count, y, x): the first fit lights them."""
    dark = np.zeros((max(0, count - len(probe)), *probe.shape[1:]), probe.dtype)
    return np.concatenate([probe, dark])


def orthogonal(fields: Array, matrix: Array) -> Array:
    """Modes (k, y, x), orthogonal and with falling power, of the beam sum_kl matrix[k, l] f_k f_l*, on the host.

    What the matrix (k, k), Hermitian, has of negative power is left out.
    """
    basis, triangle = np.linalg.qr(fields.reshape(len(fields), -1).T)
    power, vectors = np.linalg.eigh(triangle @ matrix @ triangle.conj().T)
    modes = (basis @ vectors[:, ::-1]) * np.sqrt(np.maximum(power[::-1], 0))
    return np.asarray(modes.T.reshape(fields.shape))


@dataclass(frozen=True, slots=True)
class Modes:
    """Fits the modes `turns` times and lets all waves start anew from them; in between and after, projections work."""

    every: int = 10
    start: int = 15
    turns: int = 5

    def apply(self, engine: Engine) -> None:
        """One turn."""
        probe, space = engine.probe, namespace(engine.probe)
        if len(probe) < 2 or engine.iteration >= self.start + self.every * self.turns:
            return
        moved = [space.roll(probe[0], move, axis=(0, 1)) for move in MOVES]
        lit = [mode for mode in probe if mode.any()]
        fields = space.stack([*lit, *moved])
        modes = orthogonal(to_host(fields), mixture(engine, fields))[:len(probe)].astype(probe.dtype)
        engine.restart(scaled(space.asarray(modes), engine.constraints.power))


def mixture(engine: Engine, fields: Array) -> Array:
    """The Hermitian matrix (k, k) with which fields (k, y, x) explain the counts best, on the host.

    Squares are weighted with 1/(counts + 1); some frames, spread evenly, are enough.
    """
    size, space = len(fields), namespace(fields)
    normal = space.zeros((size * size, size * size))
    right = space.zeros(size * size)
    step = max(1, engine.active // FRAMES)
    for start in range(0, engine.active, FRAMES_AT_ONCE * step):
        part = engine.slots.part(slice(start, start + FRAMES_AT_ONCE * step, step))
        seen = windows(engine.image, part.corners, engine.geometry.frame)[:, None]
        terms = _terms(engine.kernel.propagator.forward(fields[None] * seen))
        terms = engine.kernel.arrange(terms.reshape(-1, *terms.shape[2:])).reshape(size * size, -1)
        amplitude = part.gains[:, None, None] * part.amplitude
        counts = amplitude**2 - (0 if engine.background is None else engine.background)
        weight = (part.weights[:, None, None] * (amplitude >= 0) / space.sqrt(amplitude**2 + 1)).reshape(-1)
        weighted = (terms * weight).astype(np.float64)
        normal += weighted @ weighted.T
        right += weighted @ (counts.reshape(-1) * weight)
    engine.add_over_ranks(normal, right)
    left = to_host(normal)
    left = left + REGULAR * max(float(np.trace(left)) / len(left), np.finfo(float).tiny) * np.eye(len(left))
    return _hermitian(np.linalg.solve(left, to_host(right)), size)


def _terms(field: Array) -> Array:
    """What each number of the matrix adds to the intensity: (k^2, n, y, x) from fields (n, k, y, x)."""
    above, beside = np.triu_indices(field.shape[1], 1)
    cross = field[:, above] * field[:, beside].conj()
    terms = namespace(field).concatenate([field.real**2 + field.imag**2, 2 * cross.real, -2 * cross.imag], axis=1)
    return terms.swapaxes(0, 1)  # type: ignore[no-any-return]


def _hermitian(numbers: Array, size: int) -> Array:
    """The matrix (size, size) whose numbers stand in the order of `_terms`."""
    above, beside = np.triu_indices(size, 1)
    matrix = np.diag(numbers[:size]).astype(np.complex128)
    matrix[above, beside] = numbers[size:size + len(above)] + 1j * numbers[size + len(above):]
    matrix[beside, above] = matrix[above, beside].conj()
    return matrix
