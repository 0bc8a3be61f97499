"""Links between machines: encrypted, admitted by key, and resumed without loss after a broken connection.

The outlet keeps every block until it is acknowledged. An inlet whose connection broke says hello again; what it did
not acknowledge comes again, what it has taken already is acknowledged once more and not given out twice. Where several
ways may lead to the outlet the inlet takes the best that works, and looks again when it breaks.
"""

from __future__ import annotations

import os
import socket as sockets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import zmq

from camlink.block import Block
from camlink.carry.account import Account
from camlink.carry.far.admission import Admission, as_client, as_server
from camlink.carry.far.door import Door
from camlink.carry.far.invitation import INVITE, Invitation, endpoint_of, listen_at, read_invitation
from camlink.carry.far.keys import Keys
from camlink.carry.far.path import Path, Tried, Way
from camlink.carry.far.search import MOST_ANSWER_BYTES, PROBE, QUESTION, Search
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.zmq import HELLO, ZmqInlet, ZmqOutlet, write_hello
from camlink.clock import now_s
from camlink.errors import WireError

RECEIVER, SENDER = "receiver", "sender"
MOST_KNOWN: Final = 65_536
MOST_GUESTS: Final = 256
PATIENCE_S: Final = 5.0
_ANSWER: Final = bytes(MOST_ANSWER_BYTES)


class FarOutlet(ZmqOutlet):
    """The sending end; `address` is tcp://host:0, or ipc:// where a relay's gate takes over."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, keys: Keys, admission: Admission, *,
                 receivers: int = 1, policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        domain = f"link {link}"
        admission.admit(domain, keys, RECEIVER)
        self._admission = admission
        self._invitations: dict[str, Invitation] = {}
        self._dialled: frozenset[str] = frozenset()

        def prepare(socket: zmq.Socket[Any]) -> None:
            as_server(keys, domain)(socket)
            self._door = admission.watch(socket)

        super().__init__(context, address, link, receivers=receivers, policy=policy, limit_bytes=limit_bytes,
                         prepare=prepare)

    def listen(self, host: str) -> str:
        """Another address where this outlet can be dialled, at a free port of `host`; raises zmq.ZMQError."""
        self._socket.setsockopt(zmq.IPV6, ":" in host)
        self._socket.bind(f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*")
        found: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return found

    def _hear(self) -> None:
        super()._hear()
        _count_strangers(self.account, self._door)

    def _shut(self) -> None:
        if not self._socket.closed:
            self._admission.leave(self._door)
            _count_strangers(self.account, self._door, last=True)
        super()._shut()

    def _take_in(self, message: list[bytes]) -> None:
        """Answer who tries a way, before it has said hello; the rest belongs to the link."""
        if len(message) == 2 and message[1][:1] == PROBE and len(message[1]) == QUESTION.size:
            nbytes = min(QUESTION.unpack(message[1])[1], MOST_ANSWER_BYTES)
            with suppress(zmq.ZMQError):  # it is gone already
                self._socket.send_multipart([message[0], memoryview(_ANSWER)[:nbytes]], zmq.NOBLOCK, copy=False)
            return
        if len(message) == 2 and message[1][:1] == INVITE:
            self._follow(read_invitation(message[1]))
            return
        super()._take_in(message)

    def lose(self, receiver: str, reason: str, attempt: int | None = None) -> None:
        """That receiver is dead: what it did not acknowledge goes to others, and nobody dials it any more."""
        super().lose(receiver, reason, attempt)
        invited = self._invitations.get(receiver)
        if invited is not None and (attempt is None or invited.attempt <= attempt):
            self._follow(Invitation(receiver, invited.attempt, ()))

    def _follow(self, invitation: Invitation) -> None:
        """Dial where the receivers want it, and nowhere else; ZeroMQ dials again by itself."""
        before = self._invitations.get(invitation.name)
        if before is None and len(self._invitations) >= MOST_GUESTS:
            raise WireError(f"link {self._link}: more than {MOST_GUESTS} receivers want to be dialled")
        if before is not None and before.attempt > invitation.attempt:
            return
        self._invitations[invitation.name] = invitation
        wanted = frozenset(end for one in self._invitations.values() for end in one.endpoints)
        for end in self._dialled - wanted:
            self._socket.disconnect(end)
        for end in wanted - self._dialled:
            self._socket.setsockopt(zmq.IPV6, "[" in end)
            self._socket.connect(end)
        self._dialled = wanted


class FarInlet(ZmqInlet):
    """The receiving end; gives each block once, however often its connection breaks.

    `ways` is where the outlet is, or several ways that may lead there; `listen` names addresses of this machine where
    the outlet may dial it, if another way works to tell it so. A port is open there until a way is taken, and while it
    is this one.
    """

    def __init__(self, context: zmq.Context[Any], ways: str | Sequence[Way], link: str, keys: Keys, name: str = "",
                 attempt: int = 0, listen: Sequence[str] = ()) -> None:
        self._hello = HELLO + write_hello(link, name, attempt)
        self._known: OrderedDict[int, None] = OrderedDict()
        self._connected = 0
        self._linked = False
        self._context, self._name, self._attempt = context, name, attempt
        self._ways = () if isinstance(ways, str) else tuple(ways)
        self._way: Way | None = None
        self._taken_s = 0.0
        self._listen = tuple(listen)
        self._listeners: dict[str, sockets.socket] = {}
        self._secure = as_client(keys, SENDER)
        self._search: Search | None = None
        self._connected_before = 0

        def prepare(socket: zmq.Socket[Any]) -> None:
            self._secure(socket)
            self._watch(socket)

        super().__init__(context, ways if isinstance(ways, str) else "", link, name, attempt, prepare)
        if self._ways:
            self._look_for_a_way()

    @property
    def connections(self) -> int:
        """How often the connection was made; 1 when it never broke."""
        return self._connected

    def receive(self) -> Block | None:
        """The next block that was not given out before, if one is there."""
        self.pump()
        while (block := super().receive()) is not None:
            number = self._held[-1][0]
            if number not in self._known:
                self._known[number] = None
                if len(self._known) > MOST_KNOWN:
                    self._known.popitem(last=False)
                return block
            self._held.pop()
            if all(number != held for held, _ in self._held):
                self._acknowledge([number])  # the first acknowledgement went down with its connection
        return None

    def pump(self) -> None:
        """Say hello after each connection (not the first at a fixed address, whose waited); answer; mind the way."""
        if not self._closed:
            self._mind_the_way()
        super().pump()

    def _mind_the_way(self) -> None:
        for linked in self._door.look():
            self._linked = linked
            if linked:
                self._connected += 1
                if self._connected > 1 or self._ways:
                    self._done.clear()  # of the connection before; they are acknowledged when they come again
                    self._say(self._hello)
                    self._invite()
        _count_strangers(self.account, self._door)
        if self._search is not None and self._search.found:
            if not self._linked:
                self._take(self._search.found)
            self._look_no_longer()
            if self._linked:
                self._invite()  # not where we have looked
        elif not self._linked and self._search is None and self._may_look:
            self._look_for_a_way()

    @property
    def _may_look(self) -> bool:
        """Whether another way may be taken, because the one that was has broken, or has not come about."""
        return len(self._ways) + len(self._listen) > 1 and (
            self._connected > self._connected_before or now_s() - self._taken_s > PATIENCE_S)

    def _look_for_a_way(self) -> None:
        for host in self._listen:
            try:
                listener = listen_at(host)
            except OSError as error:
                self.account.note(f"cannot listen at {host} for the sender: {error.strerror}")
            else:
                self._listeners[endpoint_of(*listener.getsockname()[:2])] = listener
        inward = [Way("direct", end, True) for end in self._listeners]
        self._search = Search(self._context, [*self._ways, *inward], self._reach,
                              self._invitation(*self._listeners) if inward else b"")

    def _look_no_longer(self) -> None:
        if self._search is not None:
            self._search.close()
            self._search = None
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def _reach(self, socket: zmq.Socket[Any], way: Way) -> None:
        """Make a socket go a way; from the thread of a search too."""
        self._secure(socket)
        socket.setsockopt(zmq.IPV6, "[" in way.endpoint)
        if way.inward:
            socket.setsockopt(zmq.USE_FD, os.dup(self._listeners[way.endpoint].fileno()))
            socket.bind(way.endpoint)
        else:
            socket.connect(way.endpoint)

    def _invitation(self, *more: str) -> bytes:
        used = (self._way.endpoint,) if self._way is not None and self._way.inward else ()
        return Invitation(self._name, self._attempt, (*used, *more)).written()

    def _invite(self) -> None:
        """Tell the sender to dial where we are, and nowhere else any more."""
        if self._listen:
            self._say(self._invitation())

    def _take(self, found: list[Tried]) -> None:
        """Go the best way from now on; what is under way on the one before comes again."""
        best, before = found[0], self._way
        self._connected_before, self._taken_s = self._connected, now_s()
        if best.way != before:
            self._look_away()
            self._socket.close(linger=0)
            self._socket = self._open(self._context, self._watch)
            self._reach(self._socket, best.way)
            self._way = best.way
        chosen = self.account.path.chosen + 1 if self.account.path is not None else 1
        measured_s = best.round_trip_s or best.handshake_s
        self.account.path = Path(
            receiver=self._name, by=best.way.by, to=best.way.endpoint, round_trip_ms=round(measured_s * 1e3, 3),
            bytes_per_s=round(best.bytes_per_s), chosen=chosen,
            tried={str(t.way): str(t) for t in found})

    def _say(self, message: bytes) -> None:
        with suppress(zmq.Again):  # nobody has dialled us yet, or again: it comes again, or is asked for again
            self._socket.send(message, zmq.NOBLOCK)

    def _acknowledge(self, numbers: list[int]) -> None:
        if self._linked or not self._ways:  # what is not acknowledged comes again
            super()._acknowledge(numbers)

    def _say_leaving(self) -> None:
        if self._way is not None or not self._ways:  # nobody knows of an inlet that has found no way
            super()._say_leaving()
            if self._listen:
                self._say(Invitation(self._name, self._attempt, ()).written())

    def _shut(self) -> None:
        self._look_no_longer()
        self._look_away()
        super()._shut()

    def abandon(self) -> None:
        """Close the socket at once; what was received and not released stays with its sender."""
        if not self._closed:
            self._look_no_longer()
            self._look_away()
        super().abandon()

    def _watch(self, socket: zmq.Socket[Any]) -> None:
        self._door = Door(socket)

    def _look_away(self) -> None:
        self._door.close()
        _count_strangers(self.account, self._door, last=True)


def _count_strangers(account: Account, door: Door, *, last: bool = False) -> None:
    if door.refusals.new:
        for refusal in door.refusals.news(last=last):
            account.count_turned_away(f"{refusal.host}: {refusal.reason}", refusal.count)
