"""Choice: the kernel that a scan gets, by name or the fastest that takes its frames."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from camlink.compute.ptychography.algorithm import ap
from camlink.compute.ptychography.kernels.kernel import Kernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.slots import Active
from camlink.errors import ParameterError

KernelName = Literal["auto", "reference", "compiled"]


def warm(name: KernelName, side: int) -> None:
    """Compile what frames of side x side are going to need (seconds once on a machine, then read from its cache)."""
    frame = (side, side)
    kernel = choose("reference" if name == "reference" else "auto", frame, 1, np.dtype(np.float32))
    one = np.zeros((1, *frame), np.complex64)
    active = Active(np.zeros((1, *frame), np.float32), one[None], np.zeros((1, 2), np.int64), np.ones(1, np.float32))
    kernel.step(active, one, one[0], ap(), probe_sum=True)


def choose(name: KernelName, frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> Kernel:
    """The kernel called `name`; "auto" takes the compiled one where it suits.

    Raises ParameterError when the compiled kernel is asked for and does not take such frames.
    """
    if name == "reference":
        return ReferenceKernel()
    from camlink.compute.ptychography.kernels.compiled import CompiledKernel, suits

    if suits(frame, modes, real):
        return CompiledKernel(frame[0])
    if name == "compiled":
        raise ParameterError(f"kernel 'compiled' takes square frames of 16 to 2048 pixels without a prime factor above "
                             f"13, one mode and single precision, got {frame}, {modes} modes, {real}; choose kernel "
                             "'auto' or crop the frames to such a size")
    return ReferenceKernel()
