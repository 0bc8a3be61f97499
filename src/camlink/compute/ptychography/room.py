"""Room: the memory that a scan is going to need, and whether this machine has it, told before a frame is kept."""

from __future__ import annotations

import importlib
from typing import Final

import psutil

from camlink.block import Scan
from camlink.compute.arrays import gpu_trouble
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.minibatch import SCRATCH_FRAMES
from camlink.errors import FormatError

AMPLITUDE_BYTES: Final = 4
WAVE_BYTES: Final = 8
GRID_BYTES: Final = 128
"""Of an object pixel: the object and its comb, the denominators, the momentum of sweeps, and what a step makes."""


def needed_bytes(scan: Scan, geometry: Geometry, modes: int) -> int:
    """Bytes for all frames of `scan` with their waves, the scratch of a step, and the object."""
    frame = geometry.frame[0] * geometry.frame[1] * (AMPLITUDE_BYTES + WAVE_BYTES * modes)
    return (scan.expected + min(scan.expected, SCRATCH_FRAMES)) * frame + (
        geometry.shape[0] * geometry.shape[1] * GRID_BYTES)


def check_room(scan: Scan, needed: int, kernel: KernelName) -> None:
    """Raise FormatError when the memory that is free here, that of a GPU with it, is less than `needed` [bytes]."""
    free = psutil.virtual_memory().available
    if needed > free and kernel in ("auto", "cuda") and not gpu_trouble():
        free += importlib.import_module("cupy").cuda.Device().mem_info[0]
    if needed > free:
        raise FormatError(f"scan '{scan.id}': {scan.expected} frames of {scan.shape[0]} x {scan.shape[1]} pixels need "
                          f"{needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free here; take a machine with more "
                          "memory, smaller frames or fewer probe modes")
