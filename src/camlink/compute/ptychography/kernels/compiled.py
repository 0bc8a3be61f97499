"""Compiled kernel: one parallel loop over frames, each transformed, projected and summed while it lies in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numba.extending import overload
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.kernels.frame import impose, load, transpose, update
from camlink.compute.ptychography.kernels.kernel import Estimate, Sums
from camlink.compute.ptychography.kernels.plan import LANES, arrangement, fits, padded, twiddles
from camlink.compute.ptychography.kernels.transform import forward, inverse
from camlink.compute.ptychography.propagator import FAR_FIELD
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]
ALIGNED_FLOATS = 16
QUICK = {"fastmath": True, "nogil": True, "error_model": "numpy"}


def suits(frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> bool:
    """Whether this kernel takes such frames: square, with a plan for their side, in single precision."""
    return frame[0] == frame[1] and fits(frame[0]) and modes > 0 and real == np.float32


def advance(w: Any, size: Any, amplitude: Any, wave: Any, corner: Any, weight: Any, gain: Any, probes: Any, image: Any,
            background: Any, turn: Any, blend: Any, term: Any, total: Any, probe_total: Any) -> None:
    """The step for one frame of `size`, all its modes; for compiled callers, to whom `size` is a constant.

    `wave`, `probes` and `probe_total` are (mode, y, x), `amplitude` and `background` (y*x,).
    """
    raise NotImplementedError(advance.__doc__)


@overload(advance, prefer_literal=True, jit_options=QUICK)  # type: ignore[untyped-decorator]
def _advance(w: Any, size: Any, amplitude: Any, wave: Any, corner: Any, weight: Any, gain: Any, probes: Any, image: Any,
             background: Any, turn: Any, blend: Any, term: Any, total: Any, probe_total: Any) -> Callable[..., None]:
    side = size.literal_value
    tall = padded(side)
    panel_floats = 2 * tall * LANES
    plane_floats = 2 * tall * tall

    def one(w: Any, size: Any, amplitude: Any, wave: Any, corner: Any, weight: Any, gain: Any, probes: Any, image: Any,
            background: Any, turn: Any, blend: Any, term: Any, total: Any, probe_total: Any) -> None:
        modes, top, left = wave.shape[0], corner[0], corner[1]
        fresh = blend[0] + blend[1] == np.float32(1) and blend[2] == np.float32(1)
        for mode in range(modes):
            far = (1 + mode) * plane_floats
            old = probes[mode] if fresh else wave[mode]  # whose numbers are multiplied by zero need not be read
            load(w, side, old, probes[mode], image, top, left, blend[2])
            for start in (0, far):
                for base in range(start, start + plane_floats, panel_floats):
                    forward(w, base, side, turn)
                if start == 0:
                    transpose(w, 0, far, side)
        impose(w, plane_floats, modes, (1 + modes) * plane_floats, side, amplitude, background, gain, term)
        for mode in range(modes):
            far = (1 + mode) * plane_floats
            for start in (far, 0):
                for base in range(start, start + plane_floats, panel_floats):
                    inverse(w, base, side, turn)
                if start == far:
                    transpose(w, far, 0, side)
            old = probes[mode] if fresh else wave[mode]
            update(w, side, old, wave[mode], probes[mode], image, top, left, blend, weight, total, probe_total[mode])

    return one


@lru_cache(maxsize=4)
def step_of(size: int) -> Callable[..., None]:
    """The fused step for frames of `size`; sizes and spans are constants of the compiled code."""

    @njit(cache=True, parallel=True, **QUICK)  # type: ignore[untyped-decorator]
    def step(amplitude: Any, waves: Any, corners: Any, weights: Any, gains: Any, shifts: Any, probes: Any, image: Any,
             background: Any, turn: Any, blend: Any, term: Any, totals: Any, probe_totals: Any, scratch: Any) -> None:
        parts = totals.shape[0]
        count = waves.shape[0]
        for part in prange(parts):
            for frame in range(count * part // parts, count * (part + 1) // parts):
                shift = shifts[frame]
                advance(scratch[part], size, amplitude[frame], waves[frame], corners[frame], weights[frame],
                        gains[frame], probes[shift], image, background, turn, blend, term, totals[part],
                        probe_totals[part, shift])

    return step  # type: ignore[no-any-return]


def term_numbers(term: DataTerm) -> NDArray[np.float32]:
    """The data term as (k, l, m, n): magnitude k A + l M, or l M + sqrt(m M^2 + n A^2) where n > 0."""
    s = term.stiffness
    half = s / (2 * (1 + s))
    rows = {"project": (1, 0, 0, 0), "gaussian": (1 / (1 + s), s / (1 + s), 0, 0),
            "poisson": (0, half, half**2, 1 / (1 + s))}
    return np.array(rows[term.likeness], np.float32)


def aligned(parts: int, floats: int) -> NDArray[np.float32]:
    """Zeros (parts, floats) that begin where a cache line does, in every row where `floats` is a multiple of 16."""
    whole = np.zeros(parts * floats + ALIGNED_FLOATS, np.float32)
    first = -whole.ctypes.data // whole.itemsize % ALIGNED_FLOATS
    return whole[first:first + parts * floats].reshape(parts, floats)


class CompiledKernel:
    """Splits the frames in `parts` equal runs, one a core; the same split gives the same bits."""

    name = "compiled"
    space = np
    propagator = FAR_FIELD
    recordable = False

    def __init__(self, size: int, parts: int = 0) -> None:
        self._size = size
        self._parts = parts or numba.get_num_threads()
        self._step = step_of(size)
        self._turn = twiddles(size)
        self._places = arrangement(size)
        self._scratch = aligned(0, 0)

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x) in the order in which the forward passes leave the far field."""
        flat = amplitude.reshape(len(amplitude), self._size * self._size)
        return np.take(flat, self._places, axis=1).reshape(amplitude.shape)

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        flat, blend, size = np.ascontiguousarray, rule.blend, self._size  # another layout would be compiled anew
        probes, image = flat(estimate.probes), flat(estimate.image)
        shifts, modes = probes.shape[:2]
        totals = np.zeros((self._parts, *image.shape), np.complex64)
        probe_totals = np.zeros((self._parts, shifts, modes, size if probe_sum else 0, size), np.complex64)
        background = np.zeros(0, np.float32) if estimate.background is None else estimate.background
        self._step(active.amplitude.reshape(len(active.weights), size * size), active.waves, flat(active.corners),
                   flat(active.weights), flat(active.gains), flat(active.shifts), probes, image,
                   background.reshape(-1), self._turn,
                   np.array([blend.a, blend.b, blend.c], np.float32), term_numbers(rule.term), totals, probe_totals,
                   self._room(modes))
        return Sums(totals.sum(axis=0), probe_totals.sum(axis=0) if probe_sum else None)

    def _room(self, modes: int) -> Array:
        """Scratch (part, floats): panels near the sample, far fields of all modes, a run of intensities."""
        tall = padded(self._size)
        floats = 2 * tall * tall * (1 + modes) + tall * LANES
        if self._scratch.shape[1] != floats:
            self._scratch = aligned(self._parts, floats)
        return self._scratch
