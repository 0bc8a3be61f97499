"""Landing: where far agents land; lets in the key of an agent as long as it is heard, and passes its words on once."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any, Final, Self

import zmq
from msgspec.structs import replace

from camlink.carry.far.admission import Admission, as_server
from camlink.carry.far.keys import LIFE_S, Keys
from camlink.clock import now_s
from camlink.errors import InputError, PeerLost, WireError
from camlink.runtime.messages import MAX_CONTROL_BYTES, Bye, Message, decode
from camlink.runtime.reach.dial import AGENT
from camlink.runtime.reach.receipts import Receipts, over, read_life
from camlink.runtime.reach.refused import tell

DOMAIN: Final = "control"
TEND_MS: Final = 250
MOST_LIVES: Final = 64
LOOK_S: Final = 0.02


class Landing:
    """An encrypted port for the agent of one site; towards the master it looks like an agent beside it."""

    def __init__(self, site: str, master: str, keys: Keys, host: str = "127.0.0.1") -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._admission = Admission(self._context)
        self._admission.admit(DOMAIN, keys, AGENT)
        self._keys = keys
        self._site = site.encode()
        self._far = self._context.socket(zmq.ROUTER)
        self._far.setsockopt(zmq.ROUTER_HANDOVER, 1)  # an agent that dials again is the same agent
        as_server(keys, DOMAIN)(self._far)
        self._door = self._admission.watch(self._far)
        self._near = self._context.socket(zmq.DEALER)
        self._near.setsockopt(zmq.IDENTITY, self._site)
        for socket in (self._far, self._near):
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_CONTROL_BYTES)
            socket.setsockopt(zmq.LINGER, 2000)
        self._bind(host)
        self._near.connect(master)
        self._receipts = Receipts(0)
        self._bye = False
        self._lives: deque[int] = deque(maxlen=MOST_LIVES)
        self._closing = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"landing {site}", daemon=True)
        self._thread.start()

    @property
    def met(self) -> bool:
        """Whether the agent has ever come."""
        return self._receipts.life > 0

    def wait_for_end(self, patience_s: float) -> None:
        """Wait until the agent has heard the master's goodbye; not for one that never came."""
        until_s = time.monotonic() + patience_s
        while self.met and (self._receipts.kept or not self._bye) and time.monotonic() < until_s:
            time.sleep(LOOK_S)

    def news(self, *, last: bool = False) -> list[Message]:
        """Who was turned away since the last call, now and then; the `last` time all."""
        return tell(self._door.refusals, f"the port {self.port} for the agent of '{self._site.decode()}'", last=last)

    def _bind(self, host: str) -> None:
        where = f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*"
        try:
            self._far.bind(where)
        except zmq.ZMQError as error:
            self._admission.leave(self._door)
            self._admission.close()
            self._context.destroy(linger=0)
            raise InputError(f"landing for agents: cannot listen at {host}: {error.strerror}; choose another `address` "
                             "for the site") from None
        self.address = self._far.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(self.address.rpartition(":")[2])

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in (self._far, self._near, self._closing):
            poller.register(socket, zmq.POLLIN)
        while self._closing not in (ready := dict(poller.poll(TEND_MS))):
            try:
                if self._far in ready and self._near.poll(TEND_MS, zmq.POLLOUT):  # else the master has much to hear
                    self._hear(*self._far.recv_multipart())
                if self._near in ready:
                    words = self._near.recv_multipart()
                    self._send(self._receipts.say(words, time.monotonic()))
                    self._bye = self._bye or (not words[0] and isinstance(decode(words[-1]), Bye))
                for message in self._receipts.due(time.monotonic()):
                    self._send(message)
            except WireError as error:
                self._door.refusals.add("its agent", str(error))
            except PeerLost as error:
                self._door.refusals.add("its agent", str(error))
                return  # the master hears its silence

    def _hear(self, identity: bytes, *message: bytes) -> None:
        if identity != self._site:
            self._door.refusals.add(identity.decode("utf8", "replace")[:80],
                                    "it has the key of this run, but is the agent of another site")
            return
        life, first = read_life(message)
        if first and life not in self._lives:  # the newest agent with this key is the one
            self._lives.append(life)
            if self._receipts.life:
                self._receipts = Receipts(life)
            self._receipts.life = life
        if life != self._receipts.life:
            self._send(over(life))
        elif words := self._receipts.hear(message, time.monotonic()):
            self._near.send_multipart(words)
            self._prolong()

    def _prolong(self) -> None:
        """The key of an agent that is heard does not end: it may have to dial again."""
        if self._keys.until_s < now_s() + LIFE_S / 2:
            self._keys = replace(self._keys, until_s=now_s() + LIFE_S)
            self._admission.renew(self._keys, AGENT)

    def _send(self, message: list[bytes]) -> None:
        self._far.send_multipart([self._site, *message])  # into the air while nobody is there; it is said again

    def close(self) -> None:
        """Close the port; what is under way to the agent still goes."""
        os.eventfd_write(self._closing, 1)
        self._thread.join()
        self._near.close()
        self._admission.leave(self._door)
        self._far.close()
        self._admission.close()
        self._context.term()
        os.close(self._closing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
