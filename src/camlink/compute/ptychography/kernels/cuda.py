"""CUDA kernel: one launch in which clusters of blocks take one frame after another through the whole step."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
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
"""Sums of the probe that are kept apart, so that clusters seldom meet at one address; fewer where there are shifts."""
MOST_MODES: Final = 16
CLUSTERS_SINCE: Final = 90
NON_PORTABLE_CLUSTERS: Final = 14
LARGEST_PORTABLE: Final = 8
TERMS: Final = {"project": 0, "gaussian": 1, "poisson": 2}
ALIKE: Final = 1e-6
SOURCES: Final = ("fourier.cu", "cluster.cu", "step.cu", "sums.cu")
TILE: Final = (8, 32)
RESERVED_BYTES: Final = 1100


class Layout(NamedTuple):
    """How many blocks share a frame, pixels that a thread holds in its registers, and blocks on a multiprocessor.

    `stays`: the sums of the probe are kept in shared memory for as long as there is room and one probe for all frames.
    """

    cluster: int
    held: int
    resident: int
    stays: bool = False

    def shared_bytes(self, size: int, modes: int, *, stays: bool) -> int:
        """Shared memory of a block: its part of a frame, of the intensity of several modes, and the sums that stay."""
        return (8 + (4 if modes > 1 else 0) + (8 * modes if stays else 0)) * size**2 // self.cluster

    def has_room(self, size: int, modes: int, attributes: Mapping[str, int]) -> bool:
        """Whether the sums are to stay and find room beside the rest, on a device of these attributes."""
        room = min(attributes["MaxSharedMemoryPerMultiprocessor"] // self.resident - RESERVED_BYTES,
                   attributes["MaxSharedMemoryPerBlockOptin"])
        return self.stays and self.shared_bytes(size, modes, stays=True) <= room


LAYOUTS: Final = {64: Layout(1, 16, 2, stays=True), 128: Layout(8, 16, 5, stays=True), 256: Layout(16, 32, 4),
                  512: Layout(16, 32, 1)}


def suits(frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> bool:
    """Whether this kernel takes such frames: 64^2, 128^2, 256^2 or 512^2, up to 16 modes, single precision.

    Only to be asked where there is a GPU; all but 64^2 need compute capability 9 (clusters of blocks).
    """
    if frame[0] != frame[1] or frame[0] not in LAYOUTS or not 1 <= modes <= MOST_MODES or real != np.float32:
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


class Build(NamedTuple):
    """What a step is compiled for; what one run does not need costs it nothing."""

    size: int
    layout: Layout
    stays: bool
    modes: int
    copies: int
    term: int
    background: bool
    keep: bool

    @property
    def macros(self) -> dict[str, int]:
        """As step.cu calls them."""
        return {"SIDE": self.size, "CLUSTER": self.layout.cluster, "HELD": self.layout.held,
                "RESIDENT": self.layout.resident, "STAYS": int(self.stays), "MODES": self.modes, "COPIES": self.copies,
                "TERM": self.term, "BACKGROUND": int(self.background), "KEEP": int(self.keep)}

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return self.layout.shared_bytes(self.size, self.modes, stays=self.stays)


@lru_cache(maxsize=64)
def _module(build: Build, device: int) -> Any:
    """The compiled step on one device; CuPy keeps the machine code on disk."""
    folder = files(__package__)
    source = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SOURCES)
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in build.macros.items()))
    return _cupy().RawModule(code=source, options=options)


@lru_cache(maxsize=64)
def _entry(name: str, build: Build, device: int) -> Any:
    """One of the three steps, allowed the shared memory that it needs."""
    function = _module(build, device).get_function(name)
    function.max_dynamic_shared_size_bytes = build.shared_bytes
    if build.layout.cluster > LARGEST_PORTABLE:
        importlib.import_module("cupy_backends.cuda.api.driver").funcSetAttribute(
            function.kernel.ptr, NON_PORTABLE_CLUSTERS, 1)
    return function


def _cupy() -> Any:
    return importlib.import_module("cupy")


class CudaKernel:
    """Works on the current GPU with arrays that live there.

    Sums are added in an order that changes from run to run, unless `ordered`: then they are gathered from the waves
    after the step, in the order of the frames, and are the same to the last bit in every run.
    """

    name = "cuda"
    propagator = FAR_FIELD
    recordable = True

    def __init__(self, size: int, modes: int = 1, layout: Layout | None = None, *, ordered: bool = False) -> None:
        cupy = self.space = _cupy()
        self._size, self._modes = size, modes
        self._layout = layout or LAYOUTS[size]
        self._ordered = ordered
        self._threads = size * size // (self._layout.held * self._layout.cluster)
        device = cupy.cuda.Device()
        self._device = device.id
        self._room = self._layout.has_room(size, modes, device.attributes)
        self._most = max(1, device.attributes["MultiProcessorCount"] * self._layout.resident // self._layout.cluster)
        self._order = cupy.asarray(arrangement(size, self._layout))
        turn = np.exp(-2j * np.pi * np.arange(size) / size)
        self._turn = cupy.asarray(turn.astype(np.complex64))
        self._far = cupy.empty((self._most, modes - 1, size * size), cupy.complex64)

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x) in the order in which the threads hold the far field."""
        flat = amplitude.reshape(len(amplitude), self._size * self._size)
        return flat[:, self._order].reshape(amplitude.shape)

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """One iteration; see Kernel.step."""
        cupy, image, probes = self.space, estimate.image, estimate.probes
        build = self._build(estimate, rule)
        added = not self._ordered
        apart_size = build.copies * probes.size if probe_sum else 0
        zeros = cupy.zeros(16 + image.size + added * apart_size, cupy.complex64)  # one launch clears all there is
        taken, total = zeros[:16], zeros[16:16 + image.size].reshape(image.shape)
        apart = zeros[16 + image.size:] if added else cupy.empty(apart_size, cupy.complex64)
        if len(active.weights):
            name = "step_waves" if self._ordered else "step_both" if probe_sum else "step_object"
            self._launch(name, build, active, estimate, rule, (total, apart, self._far, taken))
        if self._ordered:
            self._gather(build, active, estimate, total, apart if probe_sum else None)
        if not probe_sum:
            return Sums(total, None)
        joined = cupy.empty_like(probes)
        pixels = self._modes * self._size**2
        self._small("join_copies", build)((-(-pixels // 256), len(probes)), (256,),
                                          (apart, joined, np.int32(pixels), np.int32(len(probes))))
        return Sums(total, joined)

    def _build(self, estimate: Estimate, rule: Rule) -> Build:
        blend = rule.blend
        keep = abs(1 - blend.a - blend.b * blend.c) > ALIKE
        stays = len(estimate.probes) == 1 and self._room
        return Build(self._size, self._layout, stays, self._modes, max(1, COPIES // len(estimate.probes)),
                     TERMS[rule.term.likeness], estimate.background is not None, keep)

    def _launch(self, name: str, build: Build, active: Active, estimate: Estimate, rule: Rule,
                sums: tuple[Array, Array, Array, Array]) -> None:
        blend, image = rule.blend, estimate.image
        count = len(active.weights)
        grid = min(count, self._most) * self._layout.cluster
        background = np.uint64(0) if estimate.background is None else estimate.background
        _entry(name, build, self._device)((grid,), (self._threads,), (
            active.amplitude, active.waves, active.corners, active.weights, active.gains, active.shifts,
            np.int32(count), estimate.probes, image, np.int32(image.shape[1]), background,
            np.float32(rule.term.stiffness), np.float32(1 - blend.a - blend.b * blend.c),
            np.float32(blend.a + blend.b * blend.c), np.float32(blend.b), np.float32(blend.c), self._turn, *sums),
            shared_mem=build.shared_bytes)

    def _gather(self, build: Build, active: Active, estimate: Estimate, total: Array, apart: Array | None) -> None:
        image, probes = estimate.image, estimate.probes
        frames = (active.waves, active.corners, active.weights, active.shifts, np.int32(len(active.weights)), probes)
        height, width = image.shape
        grid = (-(-width // TILE[1]), -(-height // TILE[0]))
        self._small("gather_object", build)(grid, (TILE[0] * TILE[1],), (
            *frames, image, np.int32(height), np.int32(width), total))
        if apart is not None:
            parts = (self._size**2 // (TILE[0] * TILE[1]), build.copies, self._modes)
            self._small("gather_probe", build)(parts, (TILE[0] * TILE[1],), (
                *frames, image, np.int32(width), np.int32(len(probes)), apart))

    def _small(self, name: str, build: Build) -> Any:
        return _module(build, self._device).get_function(name)
