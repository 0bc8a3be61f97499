"""Denoise: isotropic total variation of a complex image, as the proximal step of a weighted least-squares fit."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from camlink.compute.arrays import namespace

Array = NDArray[Any]
LEAST_WEIGHT = 0.1
STEP = 0.35355339  # 1 / sqrt(8): |gradient|^2 <= 8 on a square grid


def gradient(image: Array) -> Array:
    """Forward differences (2, y, x) of an image (y, x), zero beyond the last row and column."""
    xp = namespace(image)
    out = xp.zeros((2, *image.shape), image.dtype)
    out[0, :-1] = image[1:] - image[:-1]
    out[1, :, :-1] = image[:, 1:] - image[:, :-1]
    return out  # type: ignore[no-any-return]


def divergence(field: Array) -> Array:
    """Minus the adjoint of `gradient`: (y, x) from (2, y, x)."""
    xp = namespace(field)
    out = xp.zeros(field.shape[1:], field.dtype)
    down, right = field[0, :-1], field[1, :, :-1]
    out[:-1] += down
    out[1:] -= down
    out[:, :-1] += right
    out[:, 1:] -= right
    return out  # type: ignore[no-any-return]


class TotalVariation:
    """argmin over O of sum w |O - n|^2 / 2 + strength * TV(O), by primal-dual steps that go on from the last call.

    Chambolle and Pock, J. Math. Imaging Vis. 40 (2011) 120, algorithm 1; the dual field is kept, so that a few steps
    a call are enough when `n` changes little.
    """

    def __init__(self, strength: float, steps: int = 8) -> None:
        self.strength = strength
        self.steps = steps
        self._dual: Array | None = None

    def apply(self, image: Array, weight: Array) -> Array:
        """The denoised image (y, x) complex; `weight` (y, x) >= 0, where it is 0 the image is filled in smoothly."""
        xp, real = namespace(image, weight), image.real.dtype
        mean = weight.mean()
        scale = xp.where(mean > 0, mean, 1)  # a number that stays where it is made, so that nobody waits for a GPU
        relative, limit = (weight / scale).astype(real), (self.strength / scale).astype(real)
        if self._dual is None or self._dual.shape[1:] != image.shape:
            self._dual = xp.zeros((2, *image.shape), image.dtype)
        dual = self._dual  # and the image that belongs to it, where the weight says so
        best = xp.where(relative > LEAST_WEIGHT, image + divergence(dual) / xp.maximum(relative, LEAST_WEIGHT), image)
        ahead = best
        for _ in range(self.steps):
            dual = _inside(dual + STEP * gradient(ahead), limit)
            before, best = best, (best + STEP * (divergence(dual) + relative * image)) / (1 + STEP * relative)
            ahead = 2 * best - before
        self._dual[...] = dual
        return best  # type: ignore[no-any-return]


def _inside(field: Array, limit: Array) -> Array:
    """The field (2, y, x) with every vector shortened to at most `limit`."""
    xp = namespace(field)
    length = xp.sqrt((field.real**2 + field.imag**2).sum(axis=0))
    return field * (limit / xp.maximum(xp.maximum(length, limit), xp.finfo(length.dtype).tiny))  # type: ignore[no-any-return]
