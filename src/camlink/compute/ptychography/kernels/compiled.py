"""Compiled kernel: one parallel loop over frames, each transformed, projected and summed while it lies in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.kernels.frame import gather_image, gather_probe, impose, load, transpose, update
from camlink.compute.ptychography.kernels.kernel import Estimate, Sums
from camlink.compute.ptychography.kernels.plan import LANES, fits, order, padded, twiddles
from camlink.compute.ptychography.kernels.transform import forward, inverse
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]


def suits(frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> bool:
    """Whether this kernel takes such frames: square, with a plan for their side, one mode, single precision."""
    return frame[0] == frame[1] and fits(frame[0]) and modes == 1 and real == np.float32


@lru_cache(maxsize=4)
def step_of(size: int) -> Callable[..., None]:
    """The fused step for frames of `size`; sizes and spans are constants of the compiled code."""
    tall = padded(size)
    panel_floats = 2 * tall * LANES
    plane_floats = 2 * tall * tall

    @njit(cache=True, fastmath=True, nogil=True, error_model="numpy", parallel=True)  # type: ignore[untyped-decorator]
    def step(amplitude: Any, waves: Any, corners: Any, weights: Any, probe: Any, image: Any, turn: Any, blend: Any,
             totals: Any, probe_totals: Any, scratch: Any) -> None:
        parts = totals.shape[0]
        count = waves.shape[0]
        for part in prange(parts):
            w = scratch[part]
            for frame in range(count * part // parts, count * (part + 1) // parts):
                top, left = corners[frame, 0], corners[frame, 1]
                wave = waves[frame]
                load(w, size, wave, probe, image, top, left, blend[2])
                for turned in range(2):
                    start = turned * plane_floats
                    for base in range(start, start + plane_floats, panel_floats):
                        forward(w, base, size, turn)
                    if turned == 0:
                        transpose(w, 0, plane_floats, size)
                impose(w, plane_floats, size, amplitude[frame])
                for turned in range(2):
                    start = (1 - turned) * plane_floats
                    for base in range(start, start + plane_floats, panel_floats):
                        inverse(w, base, size, turn)
                    if turned == 0:
                        transpose(w, plane_floats, 0, size)
                update(w, size, wave, probe, image, top, left, blend[0], blend[1])
                gather_image(wave, probe, image, top, left, weights[frame], totals[part])
                if probe_totals.shape[0] == parts:
                    gather_probe(wave, probe, image, top, left, weights[frame], probe_totals[part])

    return step  # type: ignore[no-any-return]


class CompiledKernel:
    """Splits the frames in `parts` equal runs, one a core; the same split gives the same bits."""

    name = "compiled"
    space = np
    recordable = False

    def __init__(self, size: int, parts: int = 0) -> None:
        self._size = size
        self._parts = parts or numba.get_num_threads()
        self._step = step_of(size)
        self._turn = twiddles(size)
        self._order = order(size)
        self._scratch = np.zeros((self._parts, 4 * padded(size)**2), np.float32)

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x) in the order in which the forward passes leave the far field: panels of rows."""
        turned = amplitude[:, self._order][:, :, self._order]
        found = np.empty((len(amplitude), self._size * self._size), amplitude.dtype)
        for first in range(0, self._size, LANES):
            panel = turned[:, first:first + LANES].swapaxes(1, 2)
            cells = panel.shape[1] * panel.shape[2]
            start = first * self._size
            found[:, start:start + cells] = panel.reshape(len(amplitude), cells)
        return found.reshape(amplitude.shape)

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        probe, image, blend = estimate.probes[0], estimate.image, rule.blend
        totals = np.zeros((self._parts, *image.shape), np.complex64)
        probe_totals = np.zeros((self._parts if probe_sum else 0, *probe.shape[1:]), np.complex64)
        amplitude = active.amplitude.reshape(len(active.weights), self._size * self._size)
        self._step(amplitude, active.waves[:, 0], active.corners, active.weights, probe[0], image, self._turn,
                   np.array([blend.a, blend.b, blend.c], np.float32), totals, probe_totals, self._scratch)
        return Sums(totals.sum(axis=0), probe_totals.sum(axis=0)[None, None] if probe_sum else None)
