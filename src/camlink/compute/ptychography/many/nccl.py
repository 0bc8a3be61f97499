"""Nccl: the courier between GPUs; all that an exchange carries goes in one group, which a CUDA graph may record."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import address
from camlink.errors import PeerLost

Array = NDArray[Any]
BUSY_S: Final = 0.01
"""How long a wait asks the GPU without a pause; an iteration takes less."""
PAUSE_S: Final = 0.001


def new_key() -> bytes:
    """What the ranks of one team need to find each other."""
    key = _nccl().get_unique_id()
    return key if isinstance(key, bytes) else np.array(key, np.int8).tobytes()


def take_gpu(rank: int) -> None:
    """Let this process work on the GPU for `rank`: they are dealt out in turn."""
    runtime = importlib.import_module("cupy").cuda
    runtime.Device(rank % runtime.runtime.getDeviceCount()).use()


class NcclCourier:
    """Works on arrays of the current GPU and in the current stream; sums are the same bits on all ranks.

    `anybody_gone` tells which rank has ended, so that a wait for it does. Making one waits for all ranks.
    """

    def __init__(self, rank: int, ranks: int, key: bytes, patience_s: float,
                 anybody_gone: Callable[[], int | None]) -> None:
        self.rank = rank
        self._cupy = importlib.import_module("cupy")
        self._patience_s = patience_s
        self._anybody_gone = anybody_gone
        nccl = self._nccl = _nccl()
        self._types = {"f4": nccl.NCCL_FLOAT32, "f8": nccl.NCCL_FLOAT64}
        try:
            self._comm = nccl.NcclCommunicator(ranks, key, rank)
        except TypeError:  # older CuPy takes a tuple of signed bytes
            self._comm = nccl.NcclCommunicator(ranks, tuple(np.frombuffer(key, np.int8).tolist()), rank)

    def trade(self, parcels: Mapping[int, Sequence[Array]], sums: Sequence[Array]) -> dict[int, list[Array]]:
        """See Courier.trade."""
        received = {other: [self._cupy.empty_like(array) for array in arrays] for other, arrays in parcels.items()}
        stream = self._cupy.cuda.get_current_stream().ptr
        self._nccl.groupStart()
        for other, arrays in parcels.items():
            for mine, theirs in zip(arrays, received[other], strict=True):
                self._comm.send(address(mine), *self._amount(mine), other, stream)
                self._comm.recv(address(theirs), *self._amount(theirs), other, stream)
        for total in sums:
            self._reduce(total, self._nccl.NCCL_SUM, stream)
        self._nccl.groupEnd()
        return received

    def highest(self, value: Array) -> Array:
        """The highest `value` (a 0-d array of the GPU) of all ranks, in its place."""
        self._reduce(value, self._nccl.NCCL_MAX, self._cupy.cuda.get_current_stream().ptr)
        return value

    def wait(self, event: Any) -> None:
        """Wait for the GPU to come to `event`; raises PeerLost when a rank is gone or takes too long."""
        started_s = monotonic()
        while not event.done:
            spent_s = monotonic() - started_s
            if spent_s < BUSY_S:
                continue
            gone = self._anybody_gone()
            if gone is not None or spent_s > self._patience_s:
                raise PeerLost(f"rank {gone} of the reconstruction is gone" if gone is not None else
                               f"the GPU of rank {self.rank} waited for the others longer than {self._patience_s:g} s")
            sleep(PAUSE_S)

    def close(self) -> None:
        """Leave the group, also when others are gone: what the GPU still has to do with them ends.

        No recorded graph with an exchange in it may be left: this would wait for it.
        """
        self._comm.abort()

    def _reduce(self, array: Array, operation: int, stream: int) -> None:
        self._comm.allReduce(address(array), address(array), *self._amount(array), operation, stream)

    def _amount(self, array: Any) -> tuple[int, int]:
        """Real numbers in an array, and NCCL's number of their type."""
        return array.nbytes // array.real.dtype.itemsize, self._types[array.real.dtype.str[1:]]


def _nccl() -> Any:
    return importlib.import_module("cupy.cuda.nccl")
