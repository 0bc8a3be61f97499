"""Links through shared memory on one host: a block is copied once, by its sender; receivers look at it where it lies.

What says where a block lies goes over a unix socket in a folder of its user: the kernel orders it after the bytes,
wakes the reader, and tells at once when the process at the other end has ended. Records have a fixed size:
sender -> receiver   A the arena (with its descriptor)   B block   P block in a piece of its own (with its descriptor)
                     W nothing new follows   E end
receiver -> sender   H hello (only the first)   D done with   G given back: nothing looks at it any more   A both
                     R refused   L leaving   F finished
An extent is free again when its block is out of custody and every receiver has given it back, or is dead. A receiver
that keeps arrays keeps their extents; when the arena has no room beside them, blocks travel in pieces of their own.
Memory of a link: the arena, twice its limit; only what was ever used of it is resident.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any, Final

from camlink.block import Block
from camlink.carry.arena import Arena, measure, new_piece, write_extent
from camlink.carry.ledger import Parcel, Receiver
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.outlet import KeepingOutlet
from camlink.carry.zmq import read_hello
from camlink.errors import AddressInUse, InputError, StorageError, WireError

RECORD: Final = struct.Struct("<c3xIQQQd")  # kind, again, parcel, offset, bytes, sent
ANSWER: Final = struct.Struct("<c7xQ")  # kind, parcel
MAX_HELLO_BYTES: Final = 1024
RECEIVE_BYTES: Final = 1 << 16
MAX_STRANGERS: Final = 16
_ARENA_PER_LIMIT: Final = 2


class _Extent:
    """Where a block lies: in the arena, or in a piece of its own (`fd`), and which receivers look at it."""

    __slots__ = ("fd", "kept", "lookers", "nbytes", "offset")

    def __init__(self, offset: int, nbytes: int, fd: int = -1) -> None:
        self.offset, self.nbytes, self.fd = offset, nbytes, fd
        self.lookers = 0
        self.kept = True


class _Peer:
    """A connection; without a name until its hello came."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.name = ""
        self.rest = b""
        self.lent: dict[int, _Extent] = {}
        self.full = False


class RingOutlet(KeepingOutlet):
    """The sending end: writes each block once into the arena and tells a receiver where it lies."""

    def __init__(self, path: str, link: str, *, receivers: int = 1, policy: str = "block",
                 limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        super().__init__(link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
        self.address = f"shm://{path}"
        self._path = path
        self._peers: dict[int, _Peer] = {}
        self._named: dict[str, _Peer] = {}
        self._listener = _listen(path, link)
        self._arena = Arena(_ARENA_PER_LIMIT * limit_bytes)
        self._epoll = select.epoll()
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
        sock, _ = self._listener.accept()
        uid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        strangers = sum(not peer.name for peer in self._peers.values())
        if uid != os.getuid() or strangers >= MAX_STRANGERS:
            self.account.refused += 1
            sock.close()
            return
        sock.setblocking(False)
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
        record = RECORD.pack(b"A", 0, 0, 0, self._arena.nbytes, 0.0)
        try:
            socket.send_fds(peer.socket, [record], [self._arena.fd])
        except OSError:
            self._gone(peer)
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
            # it may go on looking at what it has not given back: these extents are never used again
            peer.lent.clear()
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
        """Close a connection; what the other end looked at is free."""
        fd = peer.socket.fileno()
        if fd < 0:
            return
        self._epoll.unregister(fd)
        del self._peers[fd]
        peer.socket.close()
        for extent in peer.lent.values():
            self._returned(extent)
        peer.lent.clear()

    def _store(self, block: Block, parts: list[Any], nbytes: int) -> Any:
        sizes, total = measure(parts)
        offset = self._arena.take(total)
        number = self._ledger.number
        if offset >= 0:
            write_extent(self._arena.memory, offset, number, parts, sizes, total)
            return _Extent(offset, total)
        try:
            return _Extent(0, total, new_piece(number, parts, sizes, total))
        except StorageError as error:
            self.account.note(str(error))
            return None

    def _discard(self, payload: Any) -> None:
        payload.kept = False
        self._recycle(payload)

    def _returned(self, extent: _Extent) -> None:
        extent.lookers -= 1
        self._recycle(extent)

    def _recycle(self, extent: _Extent) -> None:
        if extent.kept or (extent.lookers and extent.fd < 0):
            return
        if extent.fd < 0:
            self._arena.give(extent.offset, extent.nbytes)
        else:
            os.close(extent.fd)
            extent.fd = -2  # a piece goes by itself when nobody looks at it

    def _carry(self, receiver: Receiver, parcel: Parcel) -> bool:
        extent: _Extent = parcel.payload
        peer = self._named[receiver.name]
        kind = b"B" if extent.fd < 0 else b"P"
        record = RECORD.pack(kind, parcel.again + 1, parcel.number, extent.offset, extent.nbytes, time.time())
        if not self._tell(peer, record, extent.fd):
            return False
        if extent.fd < 0:
            extent.lookers += 1
            peer.lent[parcel.number] = extent
        return True

    def _say_ending(self, receiver: Receiver) -> bool:
        return self._tell(self._named[receiver.name], RECORD.pack(b"W", 0, 0, 0, 0, 0.0))

    def _say_end(self, receiver: Receiver) -> bool:
        return self._tell(self._named[receiver.name], RECORD.pack(b"E", 0, 0, 0, 0, 0.0))

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
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._listener.close()
        self._epoll.close()
        self._arena.close()
        Path(self._path).unlink(missing_ok=True)


def _listen(path: str, link: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(64)
    except OSError as error:
        listener.close()
        if "too long" in str(error):
            raise InputError(f"link {link}: the path {path} is too long for a socket; set XDG_RUNTIME_DIR to a "
                             "shorter folder") from None
        raise AddressInUse(f"link {link}: cannot listen at {path}: {error.strerror}") from None
    listener.setblocking(False)
    return listener
