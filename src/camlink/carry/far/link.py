"""Links between machines: encrypted, admitted by key, and resumed without loss after a broken connection.

The outlet keeps every block until it is acknowledged. An inlet whose connection broke says hello again; what it did
not acknowledge comes again, what it has taken already is acknowledged once more and not given out twice. Where several
ways may lead to the outlet the inlet takes the best that works, and looks again when it breaks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from camlink.block import Block
from camlink.carry.far.admission import Admission, as_client, as_server
from camlink.carry.far.keys import Keys
from camlink.carry.far.path import Path, Tried, Way
from camlink.carry.far.search import MOST_ANSWER_BYTES, PROBE, QUESTION, Search
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.zmq import HELLO, ZmqInlet, ZmqOutlet, waits, write_hello

RECEIVER, SENDER = "receiver", "sender"
MOST_KNOWN: Final = 65_536
_ANSWER: Final = bytes(MOST_ANSWER_BYTES)


class FarOutlet(ZmqOutlet):
    """The sending end; `address` is tcp://host:0, or ipc:// where a relay's gate takes over."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, keys: Keys, admission: Admission, *,
                 receivers: int = 1, policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        domain = f"link {link}"
        admission.admit(domain, keys, RECEIVER)
        self._admission = admission

        def prepare(socket: zmq.Socket[Any]) -> None:
            as_server(keys, domain)(socket)
            self._door = admission.watch(socket)

        super().__init__(context, address, link, receivers=receivers, policy=policy, limit_bytes=limit_bytes,
                         prepare=prepare)

    def listen(self, host: str) -> str:
        """Another address where this outlet can be dialled, at a free port of `host`; raises zmq.ZMQError."""
        self._socket.bind(f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*")
        found: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return found

    def _hear(self) -> None:
        super()._hear()
        if self._door.refusals.new:
            self._count_strangers()

    def _count_strangers(self, *, last: bool = False) -> None:
        for refusal in self._door.refusals.news(last=last):
            self.account.count_turned_away(f"{refusal.host}: {refusal.reason}", refusal.count)

    def _shut(self) -> None:
        if not self._socket.closed:
            self._admission.leave(self._door)
            self._count_strangers(last=True)
        super()._shut()

    def _take_in(self, message: list[bytes]) -> None:
        """Answer who tries a way, before it has said hello; the rest belongs to the link."""
        if len(message) == 2 and message[1][:1] == PROBE and len(message[1]) == QUESTION.size:
            nbytes = min(QUESTION.unpack(message[1])[1], MOST_ANSWER_BYTES)
            with suppress(zmq.ZMQError):  # it is gone already
                self._socket.send_multipart([message[0], memoryview(_ANSWER)[:nbytes]], zmq.NOBLOCK, copy=False)
            return
        super()._take_in(message)


class FarInlet(ZmqInlet):
    """The receiving end; gives each block once, however often its connection breaks.

    `ways` is where the outlet is, or several ways that may lead there.
    """

    def __init__(self, context: zmq.Context[Any], ways: str | Sequence[Way], link: str, keys: Keys, name: str = "",
                 attempt: int = 0) -> None:
        self._hello = HELLO + write_hello(link, name, attempt)
        self._known: OrderedDict[int, None] = OrderedDict()
        self._connected = 0
        self._linked = False
        self._context, self._name = context, name
        self._ways = () if isinstance(ways, str) else tuple(ways)
        self._way: Way | None = None
        self._secure = as_client(keys, SENDER)
        self._search: Search | None = None

        def prepare(socket: zmq.Socket[Any]) -> None:
            self._secure(socket)
            self._events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)

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
        while not self._closed and waits(self._events):
            event = recv_monitor_message(self._events)
            if self._is_of_another_way(event["endpoint"].decode("utf8", "replace")):
                continue
            self._linked = event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if self._linked:
                self._connected += 1
                if self._connected > 1 or self._ways:
                    self._done.clear()  # of the connection before; they are acknowledged when they come again
                    self._socket.send(self._hello)
            elif len(self._ways) > 1 and self._search is None:
                self._look_for_a_way()
        if self._search is not None and self._search.found:
            found = self._search.found
            self._look_no_longer()
            if not self._linked and not self._closed:
                self._take(found)
        super().pump()

    def _look_for_a_way(self) -> None:
        self._search = Search(self._context, self._ways, self._secure)

    def _look_no_longer(self) -> None:
        if self._search is not None:
            self._search.close()
            self._search = None

    def _is_of_another_way(self, endpoint: str) -> bool:
        return any(endpoint == way.endpoint for way in self._ways if way != self._way)

    def _take(self, found: list[Tried]) -> None:
        """Go the best way from now on; what is under way on the one before comes again."""
        best, before = found[0], self._way
        if best.way != before:
            self._socket.connect(best.way.endpoint)
            self._way = best.way
            if before is not None:
                self._socket.disconnect(before.endpoint)
        chosen = self.account.path.chosen + 1 if self.account.path is not None else 1
        measured_s = best.round_trip_s or best.handshake_s
        self.account.path = Path(
            receiver=self._name, by=best.way.by, to=best.way.endpoint, round_trip_ms=round(measured_s * 1e3, 3),
            bytes_per_s=round(best.bytes_per_s), chosen=chosen,
            tried={f"{t.way.by} {t.way.endpoint}": str(t) for t in found})

    def _acknowledge(self, numbers: list[int]) -> None:
        if self._linked or not self._ways:  # what is not acknowledged comes again
            super()._acknowledge(numbers)

    def _say_leaving(self) -> None:
        if self._way is not None or not self._ways:  # nobody knows of an inlet that has found no way
            super()._say_leaving()

    def _shut(self) -> None:
        self._look_away()
        super()._shut()

    def abandon(self) -> None:
        """Close the socket at once; what was received and not released stays with its sender."""
        if not self._closed:
            self._look_away()
        super().abandon()

    def _look_away(self) -> None:
        self._look_no_longer()
        self._socket.disable_monitor()
        self._events.close(linger=0)
