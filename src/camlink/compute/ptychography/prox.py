"""Prox: how a far-field wave is drawn towards the counts, for three data terms; each changes the magnitude alone.

With A = sqrt(counts), q the wave and s the stiffness (beta_1 of the papers) the new magnitude is the minimiser of
B(|u|^2, A^2) + (s/2) |u - q|^2:

    project   A                                                         B = 0 where |u| = A, else infinite
    gaussian  (A + s |q|) / (1 + s)                                     B = (|u| - A)^2 / 2
    poisson   (s |q| + sqrt(s^2 |q|^2 + 4 (1 + s) A^2)) / (2 (1 + s))   B = (|u|^2 - A^2 log |u|^2) / 2

Chang et al., arXiv 1808.05802; stiffness 0 turns both into the projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from camlink.compute.arrays import namespace

Array = NDArray[Any]
Likeness = Literal["project", "gaussian", "poisson"]


@dataclass(frozen=True, slots=True)
class DataTerm:
    """A data term and its stiffness (> 0; not looked at by `project`)."""

    likeness: Likeness = "project"
    stiffness: float = 0.25

    def magnitude(self, wave: Array, amplitude: Array) -> Array:
        """New magnitudes for magnitudes `wave` and measured amplitudes `amplitude`, real arrays of one shape."""
        s, xp = self.stiffness, namespace(wave, amplitude)
        if self.likeness == "gaussian":
            return (amplitude + s * wave) / (1 + s)
        if self.likeness == "poisson":
            root = xp.sqrt(s * s * wave * wave + 4 * (1 + s) * amplitude * amplitude)
            return (s * wave + root) / (2 * (1 + s))  # type: ignore[no-any-return]
        return amplitude

    def factor(self, wave: Array, amplitude: Array) -> Array:
        """What a wave of magnitude `wave` is multiplied by, both (n, y, x); 1 where the amplitude is negative."""
        xp = namespace(wave, amplitude)
        tiny = xp.sqrt(xp.finfo(wave.dtype).tiny)
        factor = xp.where(amplitude < 0, 1, self.magnitude(wave, amplitude) / xp.maximum(wave, tiny))
        return factor.astype(wave.dtype)  # type: ignore[no-any-return]
