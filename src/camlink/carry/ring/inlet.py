"""RingInlet: the receiving end of a link through shared memory; gives out read-only views of it."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import Any, Final

from camlink.block import Block
from camlink.carry.envelope import decode
from camlink.carry.files import allow_files
from camlink.carry.inlet import ANSWER_S, CountingInlet
from camlink.carry.ring.arena import Lent, Mapping, read_extent
from camlink.carry.ring.outlet import ANSWER, RECEIVE_BYTES, RECORD
from camlink.carry.zmq import write_hello
from camlink.errors import PeerLost, WireError

_LAST_WORDS_S: Final = 2.0
_ROOM_FOR_FDS: Final = socket.CMSG_SPACE(64 * 4)


class RingInlet(CountingInlet):
    """Maps the arena of its sender; an extent is given back when no array of its block is referenced any more."""

    def __init__(self, path: str, link: str, name: str = "only", attempt: int = 0) -> None:
        super().__init__()
        allow_files()  # each block in a piece of its own needs one
        self._link = link
        self._arenas: dict[int, Mapping] = {}
        self._records: deque[tuple[Any, ...]] = deque()
        self._fds: deque[int] = deque()
        self._rest = b""
        self._unsaid = bytearray()
        self._full = False
        self._done: list[int] = []
        self._answered_s = 0.0
        self._roots: dict[int, list[weakref.KeyedRef[int, Lent]]] = {}
        self._dropped: deque[int] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hello = write_hello(link, name, attempt)
        try:
            self._socket.connect(path)
            uid = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if uid != os.getuid():
                raise PeerLost(f"link {link}: {path} belongs to another user")
            self._socket.sendall(b"H" + len(hello).to_bytes(2, "little") + hello)
        except OSError as error:
            self._socket.close()
            raise PeerLost(f"link {link}: nobody answers at {path}: {error.strerror}") from None
        self._socket.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)

    @property
    def pollable(self) -> Any:
        """A descriptor that is readable when the sender has said something."""
        return self._epoll.fileno()

    def receive(self) -> Block | None:
        """The next block if one is there; a record that is none is counted as refused."""
        while not self._ended:
            if not self._records and not self._listen():
                self._answer()
                self._ended = self._cut
                return None
            kind, arena, again, number, offset, nbytes, sent_s = self._records.popleft()
            if kind == b"E":
                self._ended = True
            elif kind == b"W":
                self._ending = True
            elif kind == b"A":
                self._map(arena, nbytes, foreign=bool(again))
            elif kind == b"X":
                self._arenas.pop(arena, None)
            else:
                try:
                    return self._took(self._open(kind, arena, number, offset, nbytes), number, again, sent_s)
                except WireError:
                    self.account.refused += 1
                    self._dropped.append(number)  # nobody may have looked at it yet
                    self._say(b"R", number)
        return None

    def _listen(self) -> bool:
        """Take in what the sender has said; False when nothing is there."""
        if self._socket.fileno() < 0:
            return False
        try:
            data, ancillary, _, _ = self._socket.recvmsg(RECEIVE_BYTES, _ROOM_FOR_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary = b"", []
        for level, what, body in ancillary:
            if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds.extend(struct.unpack(f"{len(body) // 4}i", body[:len(body) // 4 * 4]))
        if not data:  # the sender's process has ended; whoever owns us learns it from the master and cuts
            self._hang_up()
            return False
        if self._rest:
            data = self._rest + data
        usable = len(data) - len(data) % RECORD.size
        self._rest = data[usable:]
        self._records.extend(RECORD.iter_unpack(data[:usable]))
        return bool(self._records)

    def _map(self, number: int, nbytes: int, *, foreign: bool) -> None:
        try:
            self._arenas[number] = Mapping(self._next_fd(), nbytes, foreign=foreign)
        except WireError:
            self.account.refused += 1

    def _next_fd(self) -> int:
        if not self._fds:
            raise WireError(f"link {self._link}: shared memory was announced, but none came with it")
        return self._fds.popleft()

    def _open(self, kind: bytes, arena: int, number: int, offset: int, nbytes: int) -> Block:
        """The block of a record, as views of shared memory."""
        self._roots[number] = []
        if kind == b"P":
            mapping = Mapping(self._next_fd(), nbytes, foreign=True)  # too many of them to be handed on
        elif kind == b"B":
            mapping = self._known(arena)
        else:
            raise WireError(f"link {self._link}: a record of unknown kind {kind!r}")
        root = mapping.root()
        roots = [root]

        def other(arena: int) -> Lent:
            roots.append(self._known(arena).root())
            return roots[-1]

        try:
            return decode(read_extent(root, offset, nbytes, number, other))
        finally:
            self._roots[number] += [weakref.KeyedRef(root, self._forget_root, number) for root in roots]

    def _known(self, number: int) -> Mapping:
        mapping = self._arenas.get(number)
        if mapping is None:
            raise WireError(f"link {self._link}: a block in the shared memory {number}, which was never handed over")
        return mapping

    def _forget_root(self, gone: weakref.KeyedRef[int, Lent]) -> None:
        self._dropped.append(gone.key)  # in any thread, at any moment: only noted here

    @property
    def owes(self) -> bool:
        """Whether answers wait for company."""
        return bool(self._done)

    def pump(self) -> None:
        """Answer when that has waited long enough."""
        if self._done:
            self._answer_in_time()

    def _acknowledge(self, numbers: list[int]) -> None:
        self._done += numbers
        self._answer_in_time()

    def _answer_in_time(self) -> None:
        now_s = time.monotonic()
        if not self._records or now_s - self._answered_s > ANSWER_S:
            self._answered_s = now_s
            self._answer()

    def _answer(self) -> None:
        """Tell the sender what is done with, and which extents nothing looks at any more."""
        gone = set()
        while self._dropped:
            number = self._dropped.popleft()
            refs = self._roots.get(number)
            if refs is not None and all(ref() is None for ref in refs):
                del self._roots[number]
                gone.add(number)
        for number in self._done:
            if number in gone:
                gone.discard(number)
                self._unsaid += ANSWER.pack(b"A", number)
            else:
                self._unsaid += ANSWER.pack(b"D", number)
        self._done.clear()
        for number in gone:
            self._unsaid += ANSWER.pack(b"G", number)
        if self._unsaid:
            self._speak()

    def _say(self, kind: bytes, number: int = 0) -> None:
        self._unsaid += ANSWER.pack(kind, number)
        self._answer()

    def _speak(self) -> None:
        """Send what is unsaid; what the socket does not take waits until it does."""
        if self._socket.fileno() < 0:
            self._unsaid.clear()
            return
        try:
            del self._unsaid[:self._socket.send(self._unsaid)]
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()
            return
        if bool(self._unsaid) is not self._full:
            self._full = not self._full
            self._epoll.modify(self._socket, select.EPOLLIN | (select.EPOLLOUT if self._full else 0))

    def _say_finished(self) -> None:
        self._say(b"F")

    def _say_leaving(self) -> None:
        self._say(b"L")

    def _hang_up(self) -> None:
        """No more is heard or said; blocks that are out stay valid."""
        if self._socket.fileno() >= 0:
            self._epoll.unregister(self._socket)
            self._socket.close()
        self._unsaid.clear()

    @property
    def _closed(self) -> bool:
        return self._epoll.closed

    def _shut(self) -> None:
        self._answer()
        if self._unsaid:  # last words are waited for, but not for ever
            self._socket.settimeout(_LAST_WORDS_S)
            with suppress(OSError):
                self._socket.sendall(self._unsaid)
        self._hang_up()
        self._epoll.close()
        while self._fds:
            os.close(self._fds.popleft())
        self._arenas.clear()
