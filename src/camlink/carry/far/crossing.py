"""Crossing: what a process needs for links to other machines: keys, tickets of a relay, an admission and its gates."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from camlink.carry.far.admission import Admission
from camlink.carry.far.gate import CallGate, Gate, OfferGate
from camlink.carry.far.keys import Keys
from camlink.carry.far.link import RECEIVER, FarInlet, FarOutlet
from camlink.carry.far.path import Way, read_address, write_address
from camlink.carry.far.ticket import Ticket
from camlink.errors import InputError, WireError

SCHEME: Final = "far://"
LAST_BYTES_S: Final = 0.5


class Passage(msgspec.Struct, frozen=True):
    """What a worker gets for its links to other machines; the tickets name the relay as its machine reaches it.

    `listen` names addresses of its own machine where others may dial both ends of links directly; none unless asked.
    """

    sender: Keys
    receiver: Keys
    offer: Ticket
    call: Ticket
    listen: tuple[str, ...] = ()

    @classmethod
    def opened(cls, data: bytes) -> Passage:
        """The passage in `data`; raises WireError when it is none."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError:
            raise WireError("a worker got a passage that is none; is its agent of another version?") from None

    def sealed(self) -> bytes:
        """As bytes, for the spec of a worker."""
        return msgspec.msgpack.encode(self)

    def by(self, relay: str, listen: tuple[str, ...]) -> Passage:
        """The same for a machine that reaches the relay at another address, and may be reached at these of its own."""
        return Passage(self.sender, self.receiver, msgspec.structs.replace(self.offer, address=relay),
                       msgspec.structs.replace(self.call, address=relay), listen)


class Crossing:
    """Makes the ends of links that cross; safe for several threads, closed in two steps around its context's end."""

    def __init__(self, context: zmq.Context[Any], passage: Passage) -> None:
        self._context, self._passage = context, passage
        self._admission = Admission(context)
        self._gates: list[Gate] = []
        self._lock = threading.Lock()

    def outlet(self, link: str, stem: str, *, receivers: int, policy: str, limit_bytes: int) -> FarOutlet:
        """The sending end; its address tells the lane, named after `stem`, and where it may be dialled directly."""
        lane, path = Path(stem).name, f"{stem}.far"
        outlet = FarOutlet(self._context, f"ipc://{path}", link, self._passage.sender, self._admission,
                           receivers=receivers, policy=policy, limit_bytes=limit_bytes)
        try:
            direct = [outlet.listen(host) for host in self._passage.listen]
        except zmq.ZMQError as error:
            outlet.close()
            raise InputError(f"link {link}: cannot listen at {', '.join(self._passage.listen)}: {error}; `listen` of "
                             "the site must be an address of its machine") from None
        outlet.address = write_address(lane, path, direct)
        with self._lock:
            self._gates.append(OfferGate(self._passage.offer, lane, path))
        return outlet

    def inlet(self, address: str, link: str, name: str, attempt: int, folder: Path, led: tuple[str, ...]) -> FarInlet:
        """The receiving end of the outlet at `address`; `folder` is ours alone, ssh leads to it from `led`."""
        lane, _, direct = read_address(address)
        with self._lock:
            path = folder / f"{name.replace('/', '-')}.{attempt}-{len(self._gates)}.in"
            self._gates.append(CallGate(self._passage.call, lane, path))
        ways = [*(Way("direct", end) for end in direct), *(Way("ssh", end) for end in led), Way("relay", f"ipc://{path}")]
        return FarInlet(self._context, ways, link, self._passage.receiver, name, attempt, self._passage.listen)

    def renew(self, passage: Passage) -> None:
        """From now on the keys and tickets of `passage` hold, at addresses of this machine; older ones are left."""
        with self._lock:
            mine = self._passage
            if passage.sender.until_s <= mine.sender.until_s:
                return
            self._passage = mine = passage.by(mine.offer.address, mine.listen)
            for gate in self._gates:
                gate.ticket = mine.offer if isinstance(gate, OfferGate) else mine.call
        self._admission.renew(mine.sender, RECEIVER)

    def close_admission(self) -> None:
        """Before the context ends: nobody else comes in."""
        self._admission.close()

    def close(self) -> None:
        """After the context has ended: let the last bytes through, then close the gates."""
        if self._gates:
            time.sleep(LAST_BYTES_S)
        for gate in self._gates:
            gate.close()
        self._gates.clear()
