"""Landing: where far agents land; lets in the key of the run's agents and passes their words to the master."""

from __future__ import annotations

import os
import threading
from typing import Any, Final, Self

import msgspec
import zmq

from camlink.carry.admission import Admission, as_server
from camlink.carry.keys import Keys
from camlink.errors import AddressInUse, InputError
from camlink.runtime.dial import AGENT
from camlink.runtime.events import Refused
from camlink.runtime.messages import MAX_CONTROL_BYTES, Bye, Message, decode

DOMAIN: Final = "control"


class Landing:
    """An encrypted port for the agent of one site; towards the master it looks like an agent beside it."""

    def __init__(self, site: str, master: str, keys: Keys, host: str = "127.0.0.1", port: int = 0) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._admission = Admission(self._context)
        self._admission.admit(DOMAIN, keys, AGENT)
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
        self._bind(host, port)
        self._near.connect(master)
        self._closing = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"landing {site}", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether the agent is there."""
        return self._door.inside > 0

    def news(self, *, last: bool = False) -> list[Message]:
        """Who was turned away since the last call, now and then; the `last` time all."""
        where = f"the port {self.port} for the agent of '{self._site.decode()}'"
        return [Refused(where=where, **msgspec.structs.asdict(one)) for one in self._door.refusals.news(last=last)]

    def _bind(self, host: str, port: int) -> None:
        where = f"tcp://[{host}]:{port or '*'}" if ":" in host else f"tcp://{host}:{port or '*'}"
        try:
            self._far.bind(where)
        except zmq.ZMQError as error:
            self._admission.leave(self._door)
            self._admission.close()
            self._context.destroy(linger=0)
            kind = AddressInUse if error.errno == zmq.EADDRINUSE else InputError
            raise kind(f"landing for agents: cannot listen at {host} port {port}: {error.strerror}; choose another "
                       "`address` for the site") from None
        self.address = self._far.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(self.address.rpartition(":")[2])

    def _run(self) -> None:
        goodbye: list[bytes] = []
        poller = zmq.Poller()
        for socket in (self._far, self._near, self._closing):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._far in ready:
                identity, *words = self._far.recv_multipart()
                if identity == self._site:
                    self._near.send_multipart(words)
                    if goodbye:  # it went down with the connection before this one
                        self._far.send_multipart([self._site, *goodbye])
                else:
                    self._door.refusals.add(identity.decode("utf8", "replace")[:80],
                                            "it has the key of this run, but is the agent of another site")
            if self._near in ready:
                words = self._near.recv_multipart()
                self._far.send_multipart([self._site, *words])
                if not words[0] and isinstance(decode(words[-1]), Bye):
                    goodbye = words
            if self._closing in ready:
                return

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
