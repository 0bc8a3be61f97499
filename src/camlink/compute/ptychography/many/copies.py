"""Copies: chunks of frames on their way between the host and a GPU, beside the work on other chunks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pairs = Sequence[tuple[Array, Array]]


class Copies:
    """Copies arrays of the host to and from the memory of a kernel; both are contiguous and of one shape and type.

    This one is for a kernel that works in the memory of the host, and copies at once.
    """

    def room(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory of the host that is fast to copy from and to, not filled."""
        return np.empty(shape, dtype)

    def bring(self, pairs: Pairs, after: Any) -> Any:
        """Copy (host, kernel) pairs to the kernel once `after` has come; gives what tells that they are there."""
        for host, here in pairs:
            here[...] = host

    def keep(self, pairs: Pairs) -> Any:
        """Copy (host, kernel) pairs back once the work so far is done; gives what tells that the memory is free."""
        for host, here in pairs:
            host[...] = here

    def ready(self, sign: Any) -> None:
        """Let the work that follows wait for what `bring` gave."""

    def used(self) -> Any:
        """What tells that the work so far is done."""

    def settle(self) -> None:
        """Wait for all copies."""


class StreamCopies(Copies):
    """Copies between page-locked memory and a GPU, in a stream for each direction beside that of the work."""

    def __init__(self) -> None:
        self._cuda = importlib.import_module("cupy").cuda
        self._coming = self._cuda.Stream(non_blocking=True)
        self._going = self._cuda.Stream(non_blocking=True)

    def room(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Page-locked memory; it is paid for at once."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = self._cuda.alloc_pinned_memory(max(1, count * np.dtype(dtype).itemsize))
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def bring(self, pairs: Pairs, after: Any) -> Any:
        """See Copies.bring."""
        if after is not None:
            self._coming.wait_event(after)
        for host, here in pairs:
            _memory(here).copy_from_host_async(host.ctypes.data, host.nbytes, self._coming)
        return self._coming.record()

    def keep(self, pairs: Pairs) -> Any:
        """See Copies.keep."""
        self._going.wait_event(self.used())
        for host, here in pairs:
            _memory(here).copy_to_host_async(host.ctypes.data, host.nbytes, self._going)
        return self._going.record()

    def ready(self, sign: Any) -> None:
        """The stream of the work waits."""
        self._cuda.get_current_stream().wait_event(sign)

    def used(self) -> Any:
        """An event in the stream of the work."""
        return self._cuda.get_current_stream().record()

    def settle(self) -> None:
        """Wait for both streams."""
        self._coming.synchronize()
        self._going.synchronize()


def _memory(array: Any) -> Any:
    return array.data
