"""CUDA kernel: one launch in which clusters of blocks take one frame after another through the whole step."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.kernels.kernel import Estimate, Sums
from camlink.compute.ptychography.propagator import FAR_FIELD
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]
COPIES: Final = 16
"""Sums of the probe that are kept apart, so that clusters seldom meet at one address."""
CLUSTERS_SINCE: Final = 90
NON_PORTABLE_CLUSTERS: Final = 14
LARGEST_PORTABLE: Final = 8


class Layout(NamedTuple):
    """How many blocks share a frame, pixels that a thread holds in its registers, and blocks on a multiprocessor."""

    cluster: int
    held: int
    resident: int


LAYOUTS: Final = {64: Layout(1, 32, 4), 128: Layout(2, 32, 2), 256: Layout(8, 32, 2), 512: Layout(16, 32, 1)}


def suits(frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> bool:
    """Whether this kernel takes such frames: 64^2, 128^2, 256^2 or 512^2, one mode, single precision.

    Only to be asked where there is a GPU; all but 64^2 need compute capability 9 (clusters of blocks).
    """
    if frame[0] != frame[1] or frame[0] not in LAYOUTS or modes != 1 or real != np.float32:
        return False
    return LAYOUTS[frame[0]].cluster == 1 or int(_cupy().cuda.Device().compute_capability) >= CLUSTERS_SINCE


def arrangement(size: int, layout: Layout) -> NDArray[np.int64]:
    """Pixel (flat) of a frame with zero frequency at [0, 0] that stands at each place of an arranged frame (y*x,).

    Each thread of a block finds its amplitudes as groups of four floats, the threads side by side.
    """
    radix, span = size // 16, size // layout.cluster
    threads = size * size // (layout.held * layout.cluster)
    rank, turn, part, thread, rest = np.ogrid[:layout.cluster, :layout.held // 16, :4, :threads, :4]
    item = thread + threads * turn
    row = item // span + radix * (4 * part + rest)
    column = rank * span + item % span
    return np.asarray((row * size + column).reshape(-1), np.int64)


@lru_cache(maxsize=8)
def _module(size: int, layout: Layout, device: int) -> Any:
    """The compiled step on one device; CuPy keeps the machine code on disk."""
    source = files(__package__).joinpath("step.cu").read_text(encoding="utf-8")
    macros = {"SIDE": size, "CLUSTER": layout.cluster, "HELD": layout.held, "RESIDENT": layout.resident,
              "COPIES": COPIES}
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in macros.items()))
    return _cupy().RawModule(code=source, options=options)


def _cupy() -> Any:
    return importlib.import_module("cupy")


class CudaKernel:
    """Works on the current GPU with arrays that live there; sums are added in an order that changes from run to run."""

    name = "cuda"
    propagator = FAR_FIELD
    recordable = True

    def __init__(self, size: int, layout: Layout | None = None) -> None:
        cupy = self.space = _cupy()
        layout = layout or LAYOUTS[size]
        self._size = size
        self._cluster = layout.cluster
        self._threads = size * size // (layout.held * layout.cluster)
        self._shared_bytes = 8 * size * size // layout.cluster
        device = cupy.cuda.Device()
        self._most = max(1, device.attributes["MultiProcessorCount"] * layout.resident // layout.cluster)
        module = _module(size, layout, device.id)
        self._step = {asked: module.get_function(name) for asked, name in ((False, "step_object"), (True, "step_both"))}
        for function in self._step.values():
            function.max_dynamic_shared_size_bytes = self._shared_bytes
            if layout.cluster > LARGEST_PORTABLE:
                importlib.import_module("cupy_backends.cuda.api.driver").funcSetAttribute(
                    function.kernel.ptr, NON_PORTABLE_CLUSTERS, 1)
        self._join = module.get_function("join_copies")
        self._order = cupy.asarray(arrangement(size, layout))
        turn = np.exp(-2j * np.pi * np.arange(size) / size)
        self._turn = cupy.asarray(turn.astype(np.complex64))

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x) in the order in which the threads hold the far field."""
        flat = amplitude.reshape(len(amplitude), self._size * self._size)
        return flat[:, self._order].reshape(amplitude.shape)

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        probe, image, blend = estimate.probes[0], estimate.image, rule.blend
        cupy = self.space
        count, size = len(active.weights), self._size
        copies = COPIES if probe_sum else 0
        zeros = cupy.zeros(16 + image.size + copies * size * size, cupy.complex64)  # one launch clears all there is
        taken, total = zeros[:16], zeros[16:16 + image.size].reshape(image.shape)
        apart = zeros[16 + image.size:].reshape(copies, size, size)
        clusters = min(count, self._most)
        if clusters:
            self._step[probe_sum]((clusters * self._cluster,), (self._threads,), (
                active.amplitude, active.waves, active.corners, active.weights, np.int32(count), probe, image,
                np.int32(image.shape[1]), self._turn, np.float32(1 - blend.a - blend.b), np.float32(blend.a),
                np.float32(blend.b), np.float32(blend.c), total, apart, taken), shared_mem=self._shared_bytes)
        if not probe_sum:
            return Sums(total, None)
        joined = cupy.empty_like(probe)
        self._join((-(-size * size // 256),), (256,), (apart, joined, np.int32(size * size), np.int32(COPIES)))
        return Sums(total, joined[None])
