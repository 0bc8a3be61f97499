"""ZeroMQ links between processes: zero-copy multipart messages, credit in bytes, an acknowledged end.

The sender binds a ROUTER, each receiver connects a DEALER. The first byte tells what a message is:
receiver -> sender   H hello {link, name, attempt}   D done with {numbers}   R refused {number}   L leaving   F finished
sender -> receiver   B {urgent, again, number, sent} block parts   W nothing new follows   E end
An answer wakes two threads, so several go together, after ANSWER_S at the latest. Who is done with an urgent block
answers at once: one that goes when nothing is under way, one in each quarter of the credit, and all near the end.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import zmq

from camlink.block import Block
from camlink.carry.envelope import decode
from camlink.carry.inlet import ANSWER_S, CountingInlet
from camlink.carry.ledger import Parcel, Receiver
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.outlet import KeepingOutlet
from camlink.clock import now_s
from camlink.errors import InputError, WireError

HELLO, DONE, REFUSED, LEAVING, FINISHED, BLOCK, ENDING, END = b"H", b"D", b"R", b"L", b"F", b"B", b"W", b"E"
MAX_ANSWER_BYTES: Final = 8192
_NUMBERS_AT_ONCE: Final = 1000
_PREFIX: Final = struct.Struct("<c?2xIQd")
_MAX_MESSAGE_BYTES: Final = 4 << 30
_URGENT_PARTS: Final = 4  # of the credit of a receiver: so many answers, at least, go for all of it
_LINGER_MS: Final = 2000
_READABLE: Final = int(zmq.POLLIN)  # masks of enum are slow, and this is asked twice a block
Prepare = Callable[["zmq.Socket[Any]"], None]  # what is done to a socket before it is bound or connected: keys


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who a receiver is, and of which link."""

    link: str
    name: str
    attempt: int


def read_hello(body: bytes, link: str) -> Hello:
    """The hello in `body`; raises WireError when it is none, or for another link."""
    try:
        hello = msgspec.msgpack.decode(body, type=Hello)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"link {link}: a hello does not parse: {error}") from None
    if hello.link != link or hello.attempt < 0 or not hello.name:
        raise WireError(f"link {link}: hello for another link, '{hello.link[:80]}'")
    return hello


def write_hello(link: str, name: str, attempt: int) -> bytes:
    """The hello of a receiver."""
    return msgspec.msgpack.encode(Hello(link, name, attempt))


def waits(socket: zmq.Socket[Any]) -> bool:
    """Whether a message is there; a receive that finds none costs an exception."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)


class ZmqOutlet(KeepingOutlet):
    """The sending end: gives each block to the receiver with the most credit; several receivers share the work."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, *, receivers: int = 1,
                 policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES, prepare: Prepare | None = None) -> None:
        super().__init__(link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
        self._names: dict[bytes, str] = {}
        self._identities: dict[str, bytes] = {}
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # the credit bounds the queue, in bytes
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_ANSWER_BYTES)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if prepare is not None:
            prepare(self._socket)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._shut()
            do = ("set XDG_RUNTIME_DIR to a shorter folder" if error.errno == errno.ENAMETOOLONG
                  else "is it free, and an address of this machine?")
            raise InputError(f"link {link}: cannot listen at {address}: {error.strerror}; {do}") from None
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def pollable(self) -> Any:
        """The socket."""
        return self._socket

    def _hear(self) -> None:
        while waits(self._socket):
            try:
                self._take_in(self._socket.recv_multipart(zmq.NOBLOCK))
            except WireError:
                self.account.refused += 1

    def _take_in(self, message: list[bytes]) -> None:
        if len(message) != 2 or not message[1]:
            raise WireError(f"link {self._link}: a receiver sent a message of {len(message)} parts")
        identity, kind, body = message[0], message[1][:1], message[1][1:]
        if kind == HELLO:
            hello = read_hello(body, self._link)
            if self._names.get(identity, hello.name) != hello.name:
                raise WireError(f"link {self._link}: '{self._names[identity][:80]}' says hello as somebody else")
            self._ledger.join(hello.name, hello.attempt)
            self._forget(hello.name)
            self._names[identity] = hello.name
            self._identities[hello.name] = identity
            return
        name = self._names.get(identity)
        if name is None:
            raise WireError(f"link {self._link}: a message before hello, or after the receiver was replaced or lost")
        if kind == DONE and not len(body) % 8:
            self._acknowledged(name, struct.unpack(f"<{len(body) // 8}Q", body))
        elif kind == REFUSED and len(body) == 8:
            self._refused(name, *struct.unpack("<Q", body))
        elif kind == FINISHED:
            self._finished(name)
        elif kind == LEAVING:
            self._forget(name)
            self._ledger.lose(name)
        else:
            raise WireError(f"link {self._link}: a message of unknown kind {kind!r}")

    def _forget(self, name: str) -> None:
        identity = self._identities.pop(name, None)
        if identity is not None:
            del self._names[identity]

    def _dismiss(self, receiver: Receiver) -> None:
        self._forget(receiver.name)

    def _carry(self, receiver: Receiver, parcel: Parcel) -> bool:
        head, *arrays = parcel.payload
        receiver.unasked += parcel.nbytes
        urgent = (not receiver.parcels or self._ledger.ending
                  or _URGENT_PARTS * receiver.unasked >= self._ledger.share)
        if urgent:
            receiver.unasked = 0
        first = _PREFIX.pack(BLOCK, urgent, parcel.again + 1, parcel.number, now_s()) + head
        return self._reach([self._identities[receiver.name], first, *arrays])

    def _say_ending(self, receiver: Receiver) -> bool:
        return self._reach([self._identities[receiver.name], ENDING])

    def _say_end(self, receiver: Receiver) -> bool:
        return self._reach([self._identities[receiver.name], END])

    def _reach(self, message: Sequence[Any]) -> bool:
        """Send to a receiver; False when it is not there any more, and lost."""
        identity, first, *arrays = message
        try:
            self._socket.send(identity, zmq.SNDMORE)
            self._socket.send(first, zmq.SNDMORE if arrays else 0)
            for left, array in enumerate(arrays, 1 - len(arrays)):
                self._socket.send(array, zmq.SNDMORE if left else 0, copy=False)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._lost(self._names[message[0]], "it is not there any more")
            return False
        return True

    def _shut(self) -> None:
        self._socket.close()


class ZmqInlet(CountingInlet):
    """The receiving end: says hello at once, tells what it is done with on release, acknowledges the end on close."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, name: str = "only", attempt: int = 0,
                 prepare: Prepare | None = None) -> None:
        super().__init__()
        self._done: list[int] = []
        self._urgent: set[int] = set()
        self._answered_s = 0.0
        self._socket = self._open(context, prepare)
        if address:
            self._socket.connect(address)
            self._say(HELLO + write_hello(link, name, attempt))

    def _open(self, context: zmq.Context[Any], prepare: Prepare | None) -> zmq.Socket[Any]:
        socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)  # the credit bounds the queue, in bytes
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        if prepare is not None:
            prepare(socket)
        return socket

    def _say(self, message: bytes) -> None:
        self._socket.send(message)

    @property
    def pollable(self) -> Any:
        """The socket."""
        return self._socket

    def receive(self) -> Block | None:
        """The next block if one is there; a message that is none is counted as refused."""
        while not self._ended:
            if not waits(self._socket):
                self._answer_in_time()
                self._ended = self._cut
                return None
            first, *parts = self._message()
            if first[:1] == BLOCK and len(first) >= _PREFIX.size:
                _, urgent, again, number, sent_s = _PREFIX.unpack_from(first)
                try:
                    block = decode([first[_PREFIX.size:], *parts])
                except WireError:
                    self._refuse(number)
                    continue
                if urgent:
                    self._urgent.add(number)
                return self._took(block, number, again, sent_s)
            self._ended = first == END
            self._ending = self._ending or first == ENDING
            self._answer_in_time()
            if first not in (END, ENDING):
                self.account.refused += 1
        return None

    def _message(self) -> list[Any]:
        """The parts of a message that is there: the first as bytes, the others where they lie."""
        frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        parts: list[Any] = [frame.bytes]
        while frame.more:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            parts.append(frame.buffer)
        return parts

    @property
    def owes(self) -> bool:
        """Whether answers wait for company."""
        return bool(self._done)

    def pump(self) -> None:
        """Answer when that has waited long enough."""
        self._answer_in_time()

    def _acknowledge(self, numbers: list[int]) -> None:
        self._done += numbers
        self._answer_in_time(urgent=not self._urgent.isdisjoint(numbers))

    def _answer_in_time(self, *, urgent: bool = False) -> None:
        """Answer if the sender may wait for it, or what is done with has waited long enough for company."""
        if self._done and (urgent or self._ending or now_s() - self._answered_s > ANSWER_S):
            self._answer()

    def _answer(self) -> None:
        """Tell the sender what is done with."""
        if self._done:
            self._answered_s = now_s()
        while self._done:
            some, self._done = self._done[:_NUMBERS_AT_ONCE], self._done[_NUMBERS_AT_ONCE:]
            self._urgent.difference_update(some)
            self._say(DONE + struct.pack(f"<{len(some)}Q", *some))

    def _refuse(self, number: int) -> None:
        self.account.refused += 1
        self._say(REFUSED + struct.pack("<Q", number))

    def _say_finished(self) -> None:
        self._answer()
        self._say(FINISHED)

    def _say_leaving(self) -> None:
        self._answer()
        self._say(LEAVING)

    def abandon(self) -> None:
        """Close the socket at once; what was received and not released stays with its sender."""
        self._done.clear()
        if not self._socket.closed:
            self._socket.close(linger=0)

    @property
    def _closed(self) -> bool:
        return bool(self._socket.closed)

    def _shut(self) -> None:
        self._socket.close()
