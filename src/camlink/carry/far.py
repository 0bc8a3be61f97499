"""Links between machines: encrypted, admitted by key, and resumed without loss after a broken connection.

The outlet keeps every block until it is acknowledged. An inlet whose connection broke says hello again; what it did
not acknowledge comes again, what it has taken already is acknowledged once more and not given out twice.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from camlink.block import Block
from camlink.carry.admission import Admission, as_client, as_server
from camlink.carry.keys import Keys
from camlink.carry.link import DEFAULT_LIMIT_BYTES
from camlink.carry.zmq import HELLO, ZmqInlet, ZmqOutlet, write_hello

RECEIVER, SENDER = "receiver", "sender"
MOST_KNOWN: Final = 65_536


class FarOutlet(ZmqOutlet):
    """The sending end; `address` is tcp://host:0, or ipc:// where a relay's gate takes over."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, keys: Keys, admission: Admission, *,
                 receivers: int = 1, policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        domain = f"link {link}"
        admission.admit(domain, keys, RECEIVER)
        super().__init__(context, address, link, receivers=receivers, policy=policy, limit_bytes=limit_bytes,
                         prepare=as_server(keys, domain))


class FarInlet(ZmqInlet):
    """The receiving end; gives each block once, however often its connection breaks."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, keys: Keys, name: str = "",
                 attempt: int = 0) -> None:
        self._hello = HELLO + write_hello(link, name, attempt)
        self._known: OrderedDict[int, None] = OrderedDict()
        self._connected = 0
        secure = as_client(keys, SENDER)

        def prepare(socket: zmq.Socket[Any]) -> None:
            secure(socket)
            self._events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)

        super().__init__(context, address, link, name, attempt, prepare)

    @property
    def connections(self) -> int:
        """How often the connection was made; 1 when it never broke."""
        return self._connected

    def receive(self) -> Block | None:
        """The next block that was not given out before, if one is there."""
        self._greet()
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

    def _greet(self) -> None:
        """Say hello again after each connection but the first, whose hello waited for it."""
        while not self._closed and self._events.poll(0):
            recv_monitor_message(self._events)
            self._connected += 1
            if self._connected > 1:
                self._socket.send(self._hello)

    def _shut(self) -> None:
        self._look_away()
        super()._shut()

    def abandon(self) -> None:
        """Close the socket at once; what was received and not released stays with its sender."""
        if not self._closed:
            self._look_away()
        super().abandon()

    def _look_away(self) -> None:
        self._socket.disable_monitor()
        self._events.close(linger=0)
