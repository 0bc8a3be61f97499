"""Processes: the ranks of a team as processes of this host, which end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
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
from camlink.compute.ptychography.many.shared import PATIENCE_S, Desk, SharedCourier, Sheet, heard, new_sheet
from camlink.errors import Closed, PeerLost
from camlink.signals import signal_name

Array = NDArray[Any]
LAST_WORD_S: Final = 2.0
"""What a rank may take to end once it has been told to, or once a neighbour is gone."""


class Chair(msgspec.Struct, frozen=True):
    """The file descriptors that a rank inherits: its desk, the pipes to and from the leader, the sheet with arrays."""

    desk: Desk
    orders: int
    replies: int
    sheet: int
    patience_s: float


class PipeSeat:
    """A rank's end of the pipes (many.rank.Seat)."""

    def __init__(self, chair: Chair) -> None:
        self.rank = chair.desk.rank
        self._chair = chair
        self._sheet = Sheet(chair.sheet)
        self._turn = 0

    def take(self) -> tuple[Order, Sequence[Array]] | None:
        """The next order, or None when the leader is gone: then its end of the pipe is closed."""
        try:
            letter = read_letter(receive(self._chair.orders, None))
        except Closed:
            return None
        self._turn = 1 - self._turn
        arrays = self._sheet.read(self._turn, 0, [kind.like for kind in letter.kinds]) if letter.kinds else []
        return letter.order, arrays

    def reply(self, reply: Reply) -> None:
        """Answer; when the leader is gone nobody listens."""
        try:
            send(self._chair.replies, msgspec.msgpack.encode(reply))
        except BrokenPipeError:
            return

    def courier(self, begin: Begin) -> Courier:
        """Shared memory, or NCCL on the GPU of this rank."""
        return courier_of(begin, self._chair.desk, self._chair.patience_s)


class Processes:
    """Starts `ranks - 1` processes; the leader is rank 0. `close` or the end of this process ends them."""

    def __init__(self, ranks: int, patience_s: float = PATIENCE_S) -> None:
        self.ranks = self.beside = ranks
        self._patience_s = patience_s
        self._desk, *others = Desk.several(ranks)
        self._chairs: dict[int, Chair] = {}
        self._sheets: dict[int, Sheet] = {}
        self._turn = 0
        self._open = True
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for desk in others:
                self._start(desk)
        except BaseException:  # whatever it was, no process may outlive it; it goes on to the caller
            self.kill()
            for desk in others:
                desk.leave()
            raise

    @property
    def pids(self) -> dict[int, int]:
        """The process of every rank but the leader."""
        return {rank: process.pid for rank, process in self._processes.items()}

    def courier(self, begin: Begin) -> Courier:
        """The leader's courier to the other ranks."""
        return courier_of(begin, self._desk, self._patience_s)

    def send(self, order: Order, arrays: Sequence[Sequence[Array]]) -> None:
        """Give an order to all other ranks, with the arrays of each; those of the leader are not looked at."""
        self._turn = 1 - self._turn
        for rank, chair in self._chairs.items():
            self._sheets[rank].write(self._turn, {0: arrays[rank]})
            try:
                send(chair.orders, write_letter(Letter.of(order, arrays[rank])))
            except BrokenPipeError:
                raise self.lost(f"rank {rank} does not listen any more") from None

    def replies(self) -> None:
        """Wait until all other ranks have carried out the last order; raises PeerLost."""
        for rank, chair in self._chairs.items():
            try:
                reply = read_reply(receive(chair.replies, self._patience_s))
            except Closed:
                raise self.lost(f"rank {rank} is gone") from None
            except TimeoutError:
                raise self.lost(f"rank {rank} did not answer within {self._patience_s:g} s") from None
            if isinstance(reply, Failed):
                raise self.lost(f"rank {rank} failed: {reply.text}")

    def lost(self, what: str) -> PeerLost:
        """End all ranks, and the error that says why: what a rank said or how it ended, else `what` was seen."""
        causes = self._ends() or self._last_words() or self._ends()
        self.kill()
        return PeerLost(f"the reconstruction on {self.ranks} ranks cannot go on: {causes[0] if causes else what}; "
                        "start it again, on fewer ranks if it was memory")

    def close(self) -> None:
        """Tell the ranks to go, and end those that do not."""
        for chair in self._chairs.values():
            try:
                send(chair.orders, write_letter(Letter(End())))
            except BrokenPipeError:
                continue
        for process in self._processes.values():
            try:
                process.wait(LAST_WORD_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self.kill()

    def kill(self) -> None:
        """End all ranks at once and let go of everything."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):  # the kernel ends it when it comes back, from a disk for example
                process.wait(LAST_WORD_S)
        for chair in self._chairs.values():
            for descriptor in (chair.orders, chair.replies, chair.sheet):
                os.close(descriptor)
        if self._open:
            self._desk.leave()
            for descriptor in self._desk.sheets:
                os.close(descriptor)
        self._open = False
        self._chairs.clear()
        self._sheets.clear()

    def _start(self, desk: Desk) -> None:
        orders_in, orders = os.pipe()
        replies, replies_out = os.pipe()
        sheet = new_sheet(f"camlink-orders-{desk.rank}")
        self._chairs[desk.rank] = Chair(self._desk, orders, replies, sheet, self._patience_s)
        given = Chair(desk, orders_in, replies_out, sheet, self._patience_s)
        command = [sys.executable, "-m", "camlink.compute.ptychography.many.rank", msgspec.json.encode(given).decode()]
        try:
            self._processes[desk.rank] = subprocess.Popen(
                command, pass_fds=[*desk.descriptors, orders_in, replies_out, sheet], stdin=subprocess.DEVNULL,
                process_group=0)  # Ctrl-C is for the leader
        finally:
            os.close(orders_in)
            os.close(replies_out)
            desk.leave()
        self._sheets[desk.rank] = Sheet(sheet)

    def _last_words(self) -> list[str]:
        """What ranks say went wrong."""
        found = []
        for rank, chair in self._chairs.items():
            try:
                reply = read_reply(receive(chair.replies, LAST_WORD_S))
            except (Closed, TimeoutError):
                continue
            if isinstance(reply, Failed):
                found.append(f"rank {rank} failed: {reply.text}")
        return found

    def _ends(self) -> list[str]:
        """How ranks ended that were not asked to."""
        found = []
        for rank, process in self._processes.items():
            code = process.poll()
            if code:
                how = signal_name(-code) if code < 0 else f"exit code {code}"
                found.append(f"rank {rank} (process {process.pid}) ended with {how}")
        return found


def courier_of(begin: Begin, desk: Desk, patience_s: float) -> Courier:
    """The courier of a rank on this host."""
    if begin.key:
        return NcclCourier(desk.rank, begin.tiles.ranks, begin.key, patience_s, desk.anybody_gone)
    return SharedCourier(desk, patience_s)


def send(descriptor: int, data: bytes) -> None:
    """Write a short message to a pipe, its length first."""
    os.write(descriptor, len(data).to_bytes(4, "little") + data)


def receive(descriptor: int, patience_s: float | None) -> bytes:
    """Read a message from a pipe; raises Closed at its end and TimeoutError. Without patience it waits for either."""
    size = int.from_bytes(_read(descriptor, 4, patience_s), "little")
    if size > MAX_ORDER_BYTES:
        raise PeerLost(f"a message of {size} bytes between ranks is longer than {MAX_ORDER_BYTES}")
    return _read(descriptor, size, patience_s)


def _read(descriptor: int, size: int, patience_s: float | None) -> bytes:
    data = b""
    while len(data) < size:
        if patience_s is not None and not heard(descriptor, patience_s):
            raise TimeoutError
        more = os.read(descriptor, size - len(data))
        if not more:
            raise Closed
        data += more
    return data
