"""Links through shared memory on one host: a block is copied once, by its sender; receivers look at it where it lies.

What says where a block lies goes over a unix socket in a folder of its user: the kernel orders it after the bytes,
wakes the reader, and tells at once when the process at the other end has ended. Records have a fixed size:
sender -> receiver   A an arena (with its descriptor)   X that arena is not used any more   B block
                     P block in a piece of its own (with its descriptor)   W nothing new follows   E end
receiver -> sender   H hello (only the first)   D done with   G given back: nothing looks at it any more   A both
                     R refused   L leaving   F finished
An extent is free again when its block is out of custody and every receiver has given it back, or is dead. A receiver
that keeps arrays keeps their extents; when the arena has no room beside them, blocks travel in pieces of their own.
Memory of a link: the arena, twice its limit; only what was ever used of it is resident.

A large array that came through shared memory itself is handed on where it lies: its arena is shown to our receivers,
and its block is held until they have given it back. When a receiver is lost, or leaves, while it looks at something,
the arena is retired: nothing is written there any more, whoever may still read it, and a new one takes its place.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from camlink.block import Array, Block
from camlink.carry.files import allow_files
from camlink.carry.ledger import Parcel, Receiver
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.outlet import KeepingOutlet
from camlink.carry.ring.arena import Arena, Mapping, Shared, new_piece, plan, write_extent
from camlink.carry.ring.listener import accept, listen
from camlink.carry.zmq import read_hello
from camlink.clock import now_s
from camlink.errors import StorageError, WireError

RECORD: Final = struct.Struct("<cxHIQQQd")  # kind, arena, again, parcel, offset, bytes, sent
ANSWER: Final = struct.Struct("<c7xQ")  # kind, parcel
MAX_HELLO_BYTES: Final = 1024
RECEIVE_BYTES: Final = 1 << 16
MAX_STRANGERS: Final = 16
ROOM_S: Final = 30.0
"""How long receivers may keep all memory once they are done with all blocks [s]."""
_ARENA_PER_LIMIT: Final = 2


class _Extent:
    """Where a block lies, in an arena or in a piece of its own (`fd`), and how many receivers look at it.

    When it shows memory of others, it holds the block that keeps that memory.
    """

    __slots__ = ("arena", "block", "fd", "kept", "lookers", "nbytes", "offset", "others")

    def __init__(self, arena: Arena | None, offset: int, nbytes: int, fd: int, others: tuple[Shared, ...],
                 block: Block | None) -> None:
        self.arena, self.offset, self.nbytes, self.fd = arena, offset, nbytes, fd
        self.others, self.block = others, block
        self.lookers = 0
        self.kept = True


class _Peer:
    """A connection; without a name until its hello came."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.name = ""
        self.rest = b""
        self.lent: dict[int, _Extent] = {}
        self.shown: set[int] = set()
        self.full = False


class RingOutlet(KeepingOutlet):
    """The sending end: writes each block once into the arena and tells a receiver where it lies."""

    def __init__(self, path: str, link: str, *, receivers: int = 1, policy: str = "block",
                 limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        super().__init__(link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
        allow_files()  # each block in a piece of its own needs one
        self.address = f"shm://{path}"
        self._path = path
        self._peers: dict[int, _Peer] = {}
        self._named: dict[str, _Peer] = {}
        self._arena_bytes = _ARENA_PER_LIMIT * limit_bytes
        self._numbers = itertools.count(1)
        self._retired: list[Arena] = []
        self._closing = False
        self._starved_s = 0.0
        self._unused: deque[int] = deque()
        self._others: weakref.WeakKeyDictionary[Shared, int] = weakref.WeakKeyDictionary()
        self._arena = self._new_arena()
        self._epoll = select.epoll()
        self._listener = listen(path, link)  # last: nobody has to close it when the others cannot be had
        self._epoll.register(self._listener, select.EPOLLIN)

    @property
    def pollable(self) -> Any:
        """A descriptor that is readable when any receiver has said something."""
        return self._epoll.fileno()

    def _hear(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._peers:
                self._hear_one(self._peers[fd])

    def _accept(self) -> None:
        sock = accept(self._listener)
        if sock is None:
            self.account.refused += 1
            return
        strangers = [peer for peer in self._peers.values() if not peer.name]
        if len(strangers) >= MAX_STRANGERS:  # the oldest has said nothing all the while: its place is for who does
            self.account.refused += 1
            self._drop(strangers[0])
        self._peers[sock.fileno()] = _Peer(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _hear_one(self, peer: _Peer) -> None:
        if peer.full:
            peer.full = False
            self._epoll.modify(peer.socket, select.EPOLLIN)
        try:
            data = peer.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            self._take_in(peer, peer.rest + data)
        except WireError:
            self.account.refused += 1
            data = b"" if not peer.name else data  # a stranger that cannot say hello is sent away
        if not data:
            self._gone(peer)

    def _take_in(self, peer: _Peer, data: bytes) -> None:
        if not peer.name:
            data = self._welcome(peer, data)
            if not peer.name:
                peer.rest = data
                return
        usable = len(data) - len(data) % ANSWER.size
        peer.rest = data[usable:]
        for kind, number in ANSWER.iter_unpack(data[:usable]):
            if self._named.get(peer.name) is not peer:
                return  # it has left or was replaced: what it says now is late
            try:
                self._answer(peer, kind, number)
            except WireError:
                self.account.refused += 1

    def _welcome(self, peer: _Peer, data: bytes) -> bytes:
        """Take in the hello (H, its size, its body) and hand the arena over; what follows it is given back."""
        size = int.from_bytes(data[1:3], "little")
        if data[:1] not in (b"", b"H") or size > MAX_HELLO_BYTES:
            raise WireError(f"link {self._link}: no hello")
        if len(data) < 3 + size:
            return data
        hello = read_hello(data[3:3 + size], self._link)
        self._ledger.join(hello.name, hello.attempt)
        former = self._named.pop(hello.name, None)
        if former is not None:
            self._drop(former)
        peer.name = hello.name
        self._named[hello.name] = peer
        return data[3 + size:]

    def _answer(self, peer: _Peer, kind: bytes, number: int) -> None:
        if kind in b"AG":
            extent = peer.lent.pop(number, None)
            if extent is None:
                raise WireError(f"link {self._link}: '{peer.name}' gives back parcel {number}, which it does not have")
            self._returned(extent)
        if kind in b"AD":
            self._acknowledged(peer.name, (number,))
        elif kind == b"G":
            return
        elif kind == b"R":
            self._refused(peer.name, number)
        elif kind == b"F":
            self._finished(peer.name)
        elif kind == b"L":
            # what it may go on looking at of others is held for good
            peer.lent = {number: extent for number, extent in peer.lent.items()
                         if not any(isinstance(other, Mapping) for other in extent.others)}
            del self._named[peer.name]
            self._ledger.lose(peer.name)
            self._drop(peer)
        else:
            raise WireError(f"link {self._link}: an answer of unknown kind {kind!r}")

    def _gone(self, peer: _Peer) -> None:
        """A connection has ended: the process of a receiver that did not take its leave is dead."""
        if self._named.get(peer.name) is peer:
            receiver = self._ledger.receivers.get(peer.name)
            if receiver is not None and receiver.finished:
                peer.lent.clear()
            else:
                self._lost(peer.name, "its connection ended")
        self._drop(peer)

    def _dismiss(self, receiver: Receiver) -> None:
        peer = self._named.pop(receiver.name, None)
        if peer is not None:
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        """Close a connection; the other end may go on looking at what it has not given back."""
        fd = peer.socket.fileno()
        if fd < 0:
            return
        self._epoll.unregister(fd)
        del self._peers[fd]
        peer.socket.close()
        if peer.lent and not self._closing:
            self._retire()
        for extent in peer.lent.values():
            for other in extent.others:
                if isinstance(other, Arena):  # another link of this process has it, and sees it there
                    other.retired = True
            self._returned(extent)
        peer.lent.clear()

    def _new_arena(self) -> Arena:
        arena = Arena(self._arena_bytes, next(self._numbers))
        self._others[arena] = arena.number
        return arena

    def _retire(self) -> None:
        """Write nothing any more where somebody may look whom we have lost sight of."""
        self._arena.retired = True
        self._retired.append(self._arena)
        self._arena = self._new_arena()

    def _tidy(self) -> None:
        """Put a new arena in the place of a retired one, and let go of those in which nothing lies any more."""
        if self._arena.retired:
            self._retire()
        for arena in [arena for arena in self._retired if arena.vacate()]:
            self._unused.append(arena.number)
            self._retired.remove(arena)
            arena.close()
        while self._unused:
            number = self._unused.popleft()
            for peer in list(self._named.values()):
                if number in peer.shown:
                    peer.shown.discard(number)
                    self._tell(peer, RECORD.pack(b"X", number, 0, 0, 0, 0, 0.0))

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array in shared memory: a block that is offered with it is not copied; else ordinary memory."""
        if self._arena.retired:
            self._tidy()
        kind = np.dtype(dtype)
        room = self._arena.room(shape, kind)
        return np.empty(shape, kind) if room is None else room

    def _number_of(self, mapping: Shared) -> int:
        number = self._others.get(mapping)
        if number is None:
            number = self._others[mapping] = next(self._numbers)
            weakref.finalize(mapping, self._unused.append, number)
        return number

    def _store(self, block: Block, parts: list[Any], nbytes: int) -> Any:
        if self._arena.retired or self._retired or self._unused:
            self._tidy()
        planned = plan(parts, self._number_of)
        number, arena = self._ledger.number, self._arena
        held = block if planned.others else None
        offset = arena.take(planned.nbytes, top=bool(planned.others))
        if offset >= 0:
            write_extent(arena.memory, offset, number, parts, planned)
            return _Extent(arena, offset, planned.nbytes, -1, planned.others, held)
        try:
            piece = new_piece(number, parts, planned)
        except StorageError as error:
            self.account.note(str(error))
            self._wait_for_room(error)
            return None
        self._starved_s = 0.0
        return _Extent(None, 0, planned.nbytes, piece, planned.others, held)

    def _wait_for_room(self, error: StorageError) -> None:
        """Memory that receivers keep may come back; but not for ever, once they are done with all that they had.

        Raises StorageError then.
        """
        now_s = time.monotonic()
        if not self._ledger.empty or not self._starved_s:
            self._starved_s = now_s
        elif self._ledger.policy.lossless and now_s - self._starved_s > ROOM_S:
            raise StorageError(f"link {self._link}: its receivers keep the shared memory of all blocks that they had, "
                               f"and for {ROOM_S:g} s none came back; {error}")

    def _discard(self, payload: Any) -> None:
        payload.kept = False
        self._recycle(payload)

    def _returned(self, extent: _Extent) -> None:
        extent.lookers -= 1
        self._recycle(extent)

    def _recycle(self, extent: _Extent) -> None:
        if extent.kept or extent.lookers:
            return
        extent.block = None  # what it showed of others is given back to them
        extent.others = ()
        if extent.arena is None:
            os.close(extent.fd)
            return
        extent.arena.give(extent.offset, extent.nbytes)

    def _carry(self, receiver: Receiver, parcel: Parcel) -> bool:
        extent: _Extent = parcel.payload
        peer = self._named[receiver.name]
        arena = extent.arena
        for other in extent.others:
            if not self._show(peer, self._others[other], other.fd, other.nbytes,
                              foreign=int(isinstance(other, Mapping))):
                return False
        if arena is not None and not self._show(peer, arena.number, arena.fd, arena.nbytes):
            return False
        kind, number = (b"P", 0) if arena is None else (b"B", arena.number)
        record = RECORD.pack(kind, number, parcel.again + 1, parcel.number, extent.offset, extent.nbytes, now_s())
        if not self._tell(peer, record, extent.fd):
            return False
        extent.lookers += 1
        peer.lent[parcel.number] = extent
        return True

    def _show(self, peer: _Peer, number: int, fd: int, nbytes: int, foreign: int = 0) -> bool:
        """Hand an arena over, if it was not before."""
        if number in peer.shown:
            return True
        if not self._tell(peer, RECORD.pack(b"A", number, foreign, 0, 0, nbytes, 0.0), fd):
            return False
        peer.shown.add(number)
        return True

    def _say_ending(self, receiver: Receiver) -> bool:
        return self._tell(self._named[receiver.name], RECORD.pack(b"W", 0, 0, 0, 0, 0, 0.0))

    def _say_end(self, receiver: Receiver) -> bool:
        return self._tell(self._named[receiver.name], RECORD.pack(b"E", 0, 0, 0, 0, 0, 0.0))

    def _tell(self, peer: _Peer, record: bytes, fd: int = -1) -> bool:
        """Send a record; False when the socket is full (its descriptor wakes us) or the receiver is gone."""
        try:
            if fd < 0:
                peer.socket.send(record)
            else:
                socket.send_fds(peer.socket, [record], [fd])
        except BlockingIOError:
            if not peer.full:
                peer.full = True
                self._epoll.modify(peer.socket, select.EPOLLIN | select.EPOLLOUT)
            return False
        except OSError:
            self._gone(peer)
            return False
        return True

    def _shut(self) -> None:
        if self._epoll.closed:
            return
        self._closing = True
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._listener.close()
        self._epoll.close()
        for arena in (self._arena, *self._retired):
            arena.close()
        Path(self._path).unlink(missing_ok=True)
