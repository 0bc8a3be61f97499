"""Mpi: ranks that mpirun or srun started, on one machine or several; the leader is the one that runs the script."""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final
from warnings import warn

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.many.halo import Courier
from camlink.compute.ptychography.many.nccl import NcclCourier
from camlink.compute.ptychography.many.orders import (
    MAX_ORDER_BYTES,
    Begin,
    End,
    Failed,
    Letter,
    Order,
    Reply,
    read_letter,
    read_reply,
    write_letter,
)
from camlink.compute.ptychography.many.rank import serve
from camlink.compute.ptychography.many.shared import PATIENCE_S
from camlink.errors import InputError, PeerLost, WireError
from camlink.settings import read_settings

Array = NDArray[Any]
ORDER, ARRAY, REPLY, PARCEL = range(4)
EAGER_S: Final = 0.02
"""How long a rank looks for the next order without a pause: while a scan iterates they come in quick succession."""
PAUSE_S: Final = 0.001


def join(patience_s: float = PATIENCE_S) -> MpiSeats | None:
    """The seats of the other ranks, for the leader; None when nobody else was started.

    The other ranks work here until the leader's program ends, and then end theirs: the call does not return. Raises
    InputError where several were started and mpi4py is missing.
    """
    ranks = read_settings().mpi_ranks
    if ranks < 2:
        return None
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except ImportError as error:
        raise InputError(f"mpirun started {ranks} ranks and mpi4py cannot be imported ({error}); install camlink[mpi] "
                         "and the MPI that mpirun belongs to, or start one process") from None
    world = mpi.COMM_WORLD
    if world.Get_size() == 1:
        raise InputError(f"mpirun started {ranks} ranks and mpi4py sees one: it was made for another MPI; start with "
                         "the mpirun of the MPI that mpi4py finds")
    beside = world.Split_type(mpi.COMM_TYPE_SHARED).Get_size()
    if world.Get_rank():
        serve(MpiSeat(mpi, world, patience_s))
        world.Barrier()  # one that left before the others would be taken for dead
        raise SystemExit(0)
    return MpiSeats(mpi, world, beside, patience_s)


class MpiSeat:
    """Where a rank hears its leader (many.rank.Seat)."""

    def __init__(self, mpi: Any, world: Any, patience_s: float) -> None:
        self.rank: int = world.Get_rank()
        self._mpi, self._world, self._patience_s = mpi, world, patience_s

    def take(self) -> tuple[Order, Sequence[Array]]:
        """The next order; when the leader dies MPI ends this process, too."""
        letter = read_letter(_received(self._mpi, self._world, 0, ORDER, None))
        arrays = [np.empty(kind.shape, kind.number) for kind in letter.kinds]
        for array in arrays:
            self._world.Recv([array, self._mpi.BYTE], 0, ARRAY)
        return letter.order, arrays

    def reply(self, reply: Reply) -> None:
        """Answer the order."""
        self._world.Send([msgspec.msgpack.encode(reply), self._mpi.BYTE], 0, REPLY)

    def courier(self, begin: Begin) -> Courier:
        """MPI, or NCCL on the GPU of this rank."""
        return _courier(self._mpi, self._world, begin, self._patience_s)


class MpiSeats:
    """The other ranks, for the leader (many.team.Seats); they serve one reconstruction after another."""

    def __init__(self, mpi: Any, world: Any, beside: int, patience_s: float) -> None:
        self.ranks: int = world.Get_size()
        self.beside = beside
        self._mpi, self._world, self._patience_s = mpi, world, patience_s
        self._broken = self._owed = False
        atexit.register(self._end)

    def courier(self, begin: Begin) -> Courier:
        """The leader's courier to the other ranks."""
        return _courier(self._mpi, self._world, begin, self._patience_s)

    def send(self, order: Order, arrays: Sequence[Sequence[Array]]) -> None:
        """Give an order to all other ranks, with the arrays of each; those of the leader are not looked at."""
        self._owed = True
        for rank in range(1, self.ranks):
            self._world.Send([write_letter(Letter.of(order, arrays[rank])), self._mpi.BYTE], rank, ORDER)
            for array in arrays[rank]:
                self._world.Send([np.ascontiguousarray(array), self._mpi.BYTE], rank, ARRAY)

    def replies(self) -> None:
        """Wait until all other ranks have carried out the last order; raises PeerLost."""
        self._owed = False
        for rank in range(1, self.ranks):
            try:
                reply = read_reply(_received(self._mpi, self._world, rank, REPLY, self._patience_s))
            except TimeoutError:
                raise self.lost(f"rank {rank} did not answer within {self._patience_s:g} s") from None
            if isinstance(reply, Failed):
                raise self.lost(f"rank {rank} failed: {reply.text}")

    def lost(self, what: str) -> PeerLost:
        """The error; at the end of the program MPI is told to end all ranks, since some still wait for each other."""
        self._broken = True
        return PeerLost(f"the reconstruction on {self.ranks} MPI ranks cannot go on: {what}; start it again")

    def close(self) -> None:
        """Wait for what is not answered yet; the ranks stay for the next reconstruction."""
        if self._owed and not self._broken:
            self.replies()

    def _end(self) -> None:
        try:
            self.close()
        except PeerLost as error:
            warn(str(error), stacklevel=2)
        if self._broken:
            self._world.Abort(1)
        for rank in range(1, self.ranks):
            self._world.Send([write_letter(Letter(End())), self._mpi.BYTE], rank, ORDER)
        self._world.Barrier()


class MpiCourier:
    """Parcels go from rank to rank; sums are made by the leader, so that all get the same bits."""

    def __init__(self, mpi: Any, world: Any) -> None:
        self.rank: int = world.Get_rank()
        self._mpi, self._world = mpi, world

    def trade(self, parcels: Mapping[int, Sequence[Array]], sums: Sequence[Array]) -> dict[int, list[Array]]:
        """See Courier.trade."""
        received = {other: [np.empty_like(array) for array in arrays] for other, arrays in parcels.items()}
        byte, asked = self._mpi.BYTE, []
        for other, arrays in received.items():
            asked += [self._world.Irecv([array, byte], other, PARCEL) for array in arrays]
        for other, mine in parcels.items():
            asked += [self._world.Isend([array, byte], other, PARCEL) for array in mine]
        self._mpi.Request.Waitall(asked)
        for total in sums:
            self._world.Reduce(self._mpi.IN_PLACE if self.rank == 0 else total, total, self._mpi.SUM, 0)
            self._world.Bcast(total, 0)
        return received

    def highest(self, value: Any) -> float:
        """The highest `value` of all ranks."""
        return float(self._world.allreduce(float(value), self._mpi.MAX))

    def wait(self, event: Any) -> None:
        """Wait for the GPU; nobody else is waited for."""
        event.synchronize()

    def close(self) -> None:
        """The ranks stay."""


def _courier(mpi: Any, world: Any, begin: Begin, patience_s: float) -> Courier:
    if begin.key:
        return NcclCourier(world.Get_rank(), world.Get_size(), begin.key, patience_s, lambda: None)
    return MpiCourier(mpi, world)


def _received(mpi: Any, world: Any, source: int, tag: int, patience_s: float | None) -> bytearray:
    """A short message; looked for now and then, since a wait of MPI takes a whole core. Raises TimeoutError."""
    status, started_s = mpi.Status(), monotonic()
    while not world.Iprobe(source, tag, status):
        waited_s = monotonic() - started_s
        if patience_s is not None and waited_s > patience_s:
            raise TimeoutError
        if waited_s > EAGER_S:
            sleep(PAUSE_S)
    size = status.Get_count(mpi.BYTE)
    if size > MAX_ORDER_BYTES:
        raise WireError(f"a message of {size} bytes between ranks is longer than {MAX_ORDER_BYTES}")
    data = bytearray(size)
    world.Recv([data, mpi.BYTE], source, tag)
    return data
