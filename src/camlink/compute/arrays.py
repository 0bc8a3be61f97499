"""The array namespace: one source runs on NumPy and CuPy; CuPy is only touched when somebody asked for a GPU."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def on_device(array: Any) -> bool:
    """Whether `array` lives on a GPU, told from its type alone."""
    return type(array).__module__.partition(".")[0] == "cupy"


def namespace(*arrays: Any) -> Any:
    """The module whose functions work on `arrays`: cupy when any of them is a CuPy array, else numpy."""
    return importlib.import_module("cupy") if any(on_device(array) for array in arrays) else np


def to_host(array: Any) -> NDArray[Any]:
    """`array` in the memory of the host, same shape and dtype; a NumPy array is not copied."""
    return np.asarray(array.get() if on_device(array) else array)


def address(array: Any) -> int:
    """Where the numbers of `array` begin in its memory."""
    return int(array.data.ptr if on_device(array) else array.ctypes.data)


def intensity(array: Any) -> Any:
    """|a|^2 of complex numbers, real, in one launch on a GPU."""
    return _squares(array.real.dtype.name)(array) if on_device(array) else array.real**2 + array.imag**2


@lru_cache(maxsize=2)
def _squares(real: str) -> Any:
    return importlib.import_module("cupy").ElementwiseKernel("T x", f"{real} y", "y = norm(x)", "squares")


def fourier(array: Any) -> Any:
    """The module with fft2, rfft2 and so on for `array`: scipy.fft, or cupy.fft on a GPU."""
    return importlib.import_module("cupy.fft" if on_device(array) else "scipy.fft")


def gpu_count() -> int:
    """How many GPUs this process may use."""
    return 0 if gpu_trouble() else int(importlib.import_module("cupy").cuda.runtime.getDeviceCount())


def gpu_trouble() -> str:
    """Why no GPU can be used by this process; empty when one can."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA finds no GPU ({error})"
    return "" if count else "CUDA finds no GPU"


def settle() -> None:
    """Wait until the GPU has done all that this process gave it; without one nothing is left to be done."""
    if not gpu_trouble():
        importlib.import_module("cupy").cuda.Device().synchronize()
