"""Rank: a process of a team, started by the leader as `python -m camlink.compute.ptychography.many.rank SEAT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from camlink.compute.ptychography.many.halo import Courier
from camlink.compute.ptychography.many.member import Member, limit_threads
from camlink.compute.ptychography.many.nccl import take_gpu
from camlink.compute.ptychography.many.orders import Begin, Done, End, Failed, Order, Prepare, Reply
from camlink.errors import PeerLost

Array = NDArray[Any]


class Seat(Protocol):
    """Where a rank hears its leader."""

    @property
    def rank(self) -> int:
        """Which rank sits here."""
        ...

    def take(self) -> tuple[Order, Sequence[Array]] | None:
        """The next order and its arrays, or None when the leader is gone."""
        ...

    def reply(self, reply: Reply) -> None:
        """Answer the order."""
        ...

    def courier(self, begin: Begin) -> Courier:
        """The courier to the other ranks."""
        ...


def serve(seat: Seat) -> None:
    """Do what the leader says until it says End or is gone; an error is told to it and ends the rank."""
    member: Member | None = None
    while True:
        taken = seat.take()
        if taken is None or isinstance(taken[0], End):
            break
        order, arrays = taken
        try:
            if isinstance(order, Prepare):
                if order.gpu:
                    take_gpu(seat.rank)
            elif isinstance(order, Begin):
                limit_threads(order.threads)
                member = Member(order, arrays, seat.courier(order))
            elif member is not None:
                member.obey(order, arrays)
        except PeerLost:
            break  # the leader sees for itself who is gone
        except Exception as error:  # the outermost loop of this process: the leader raises it
            seat.reply(Failed(f"{type(error).__name__}: {error}"))
            break
        seat.reply(Done())
    if member is not None:
        member.close()


if __name__ == "__main__":
    from camlink.compute.ptychography.many.processes import Chair, PipeSeat

    serve(PipeSeat(msgspec.json.decode(sys.argv[1], type=Chair)))
