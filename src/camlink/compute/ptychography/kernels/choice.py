"""Choice: the kernel that a scan gets, by name or the fastest that takes its frames."""

from __future__ import annotations

import importlib
from typing import Any, Final, Literal

import numpy as np

from camlink.compute.arrays import gpu_trouble, on_device
from camlink.compute.ptychography.kernels.kernel import Kernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.propagator import FAR_FIELD, Propagator
from camlink.errors import ParameterError

KernelName = Literal["auto", "reference", "compiled", "cuda"]
GPU_CHUNK: Final = 128


def choose(name: KernelName, frame: tuple[int, int], modes: int, real: np.dtype[Any],
           propagator: Propagator = FAR_FIELD, *, ordered: bool = False) -> Kernel:
    """The kernel called `name`; "auto" takes the GPU where there is one, then the compiled one where it suits.

    Frames that the CUDA kernel does not take are worked on by the reference kernel on the GPU; the near field always is
    work of the reference kernel, whose name then says so. `ordered` asks the CUDA kernel for sums that are the same to
    the last bit in every run. Raises ParameterError when the compiled kernel is asked for and does not take such
    frames, or "cuda" where no GPU can be used.
    """
    if name == "reference":
        return ReferenceKernel(propagator=propagator)
    trouble = gpu_trouble() if name in ("auto", "cuda") else ""
    if name == "cuda" and trouble:
        raise ParameterError(f"kernel 'cuda' cannot run here: {trouble}; it needs an NVIDIA GPU with its driver and "
                             "CuPy (pip install 'camlink[gpu]', or cupy-cuda12x or cupy-cuda13x to match the driver), "
                             "or choose kernel 'auto'")
    if name in ("auto", "cuda") and not trouble:
        return _on_gpu(frame, modes, real, propagator, ordered=ordered)
    if propagator is not FAR_FIELD:
        if name == "compiled":
            raise ParameterError(f"kernel 'compiled' works in the far field, not in the {propagator.name}; choose "
                                 "kernel 'auto' or 'reference'")
        return ReferenceKernel(propagator=propagator)
    kernel = _fastest_on_cpu(frame, modes, real)
    if name == "compiled" and kernel.name != name:
        raise ParameterError(f"kernel 'compiled' takes square frames of 16 to 2048 pixels without a prime factor above "
                             f"13 and single precision, got {frame}, {real}; choose kernel 'auto' or crop the frames "
                             "to such a size")
    return kernel


def trial_kernel(frame: tuple[int, int], amplitude: Any) -> Kernel:
    """The kernel for a short trial with one mode, where `amplitude` lies: on the host the one that compiles nothing."""
    return _on_gpu(frame, 1, amplitude.dtype, FAR_FIELD) if on_device(amplitude) else ReferenceKernel()


def _fastest_on_cpu(frame: tuple[int, int], modes: int, real: np.dtype[Any]) -> Kernel:
    from camlink.compute.ptychography.kernels.compiled import CompiledKernel, suits

    return CompiledKernel(frame[0]) if suits(frame, modes, real) else ReferenceKernel()


def _on_gpu(frame: tuple[int, int], modes: int, real: np.dtype[Any], propagator: Propagator, *,
            ordered: bool = False) -> Kernel:
    from camlink.compute.ptychography.kernels import cuda

    if propagator is FAR_FIELD and cuda.suits(frame, modes, real):
        return cuda.CudaKernel(frame[0], modes, ordered=ordered)
    return ReferenceKernel(GPU_CHUNK, importlib.import_module("cupy"), propagator)
