"""Receiver: the UDP socket of one camera; registers there, empties the socket in batches, gives assembled frames."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import numpy as np

from camlink.capture.fastccd.assemble import Allocate, Assembler, Counters, Frame
from camlink.capture.fastccd.batch import DEFAULT_BUFFER_BYTES, ReceiveBatch, sender_key, sender_text
from camlink.capture.fastccd.geometry import Geometry
from camlink.capture.fastccd.udp import bound, widen
from camlink.capture.fastccd.wire import MAX_DATAGRAM_BYTES, payloads_of
from camlink.clock import now_s
from camlink.errors import ParameterError, PeerLost

BATCH: Final = 64
GREETING: Final = b"camlink"
GREET_EVERY_S: Final = 0.25
GREET_AGAIN_S: Final = 1.0
COALESCE_S: Final = 0.5e-3
DRAIN_BYTES_PER_S: Final = 500e6


def parse_address(text: str) -> tuple[str, int]:
    """IPv4 address and port of udp://host:port; raises ParameterError when the text says something else."""
    try:
        parts = urlsplit(text)
        if parts.scheme != "udp" or not parts.hostname or not parts.port:
            raise ValueError("expected udp://host:port with a port from 1 to 65535")
        return socket.gethostbyname(parts.hostname), parts.port
    except (ValueError, OSError) as error:
        raise ParameterError(f"detector address '{text}': {error}; write it as udp://10.0.5.207:49203") from None


class Receiver:
    """Listens on `host`:`port` (0: any free port) and registers at the detector `address`, udp://host:port.

    Without an address it waits for the first camera that sends. It listens on loopback unless another `host` is
    given. `first_number` and `deadline_s` are those of `Assembler`. Raises AddressInUse when the port is taken,
    ParameterError when an address cannot be read, PeerLost when the detector cannot be reached from `host`.
    """

    def __init__(self, geometry: Geometry, *, address: str = "", host: str = "127.0.0.1", port: int = 0,
                 receive_buffer_bytes: int = DEFAULT_BUFFER_BYTES, first_number: int | None = 0,
                 deadline_s: float = 0.1, allocate: Allocate | None = None) -> None:
        self._target = parse_address(address) if address else None
        self.assembler = Assembler(geometry, first_number=first_number, deadline_s=deadline_s, allocate=allocate,
                                   sender=sender_key(*self._target) if self._target else 0)
        self._batch = ReceiveBatch(BATCH, MAX_DATAGRAM_BYTES)
        self._socket = bound(host, port, "the receiver of the detector")
        self.host, self.port = self._socket.getsockname()
        self.receive_buffer_bytes = widen(self._socket, receive_buffer_bytes)
        self._pause_s = min(COALESCE_S, self.receive_buffer_bytes / 8 / DRAIN_BYTES_PER_S)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._heard_s = self._empty_s = now_s()
        self._greeted_s = 0.0
        self._heard = False

    @property
    def counters(self) -> Counters:
        """A snapshot of what arrived and what did not."""
        return self.assembler.counters

    @property
    def silent_s(self) -> float:
        """How long the detector was silent when the socket was last found empty [s]; what waits there is no silence."""
        return max(0.0, self._empty_s - self._heard_s)

    @property
    def heard(self) -> bool:
        """Whether the detector has sent anything that is a packet of it."""
        return self._heard

    @property
    def foreign_senders(self) -> list[str]:
        """Addresses host:port that sent datagrams and are not the detector, at most 16."""
        return sorted(sender_text(key) for key in self.assembler.foreign_senders)

    def receive(self, timeout_s: float) -> Iterator[Frame]:
        """Frames that are finished by what waits in the socket; waits at most `timeout_s` for the first datagram.

        Raises PeerLost when the socket fails or the detector cannot be reached.
        """
        self._greet()
        looked_s = now_s()
        try:
            got = self._batch.receive(self._socket)
            if not got and self._poll.poll(max(0.0, timeout_s) * 1000):
                time.sleep(self._pause_s)  # a few packets at once cost less than each alone
                looked_s = now_s()
                got = self._batch.receive(self._socket)
        except OSError as error:
            raise PeerLost(f"udp://{self.host}:{self.port}, which listens for the detector, failed: "
                           f"{error.strerror}") from None
        if got:
            yield from self._feed(got)
        if got < BATCH:  # nothing waited when we looked; what came since may be there however long we were away
            self._empty_s = looked_s
            yield from self.assembler.expire(looked_s)

    def flush(self, last_number: int | None = None) -> Iterator[Frame]:
        """Close every open frame; frames up to `last_number` that never came are counted as lost."""
        yield from self.assembler.flush(now_s(), last_number)

    def dropped_here(self) -> int:
        """Datagrams that this machine threw away because the receive buffer was full; 0 where it does not tell."""
        table = Path("/proc/net/udp")
        if not table.exists():
            return 0
        inode = str(os.fstat(self._socket.fileno()).st_ino)
        rows = (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:])
        return sum(int(row[12]) for row in rows if len(row) > 12 and row[9] == inode)

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _feed(self, got: int) -> Iterator[Frame]:
        batch, assembler, at_s = self._batch, self.assembler, now_s()
        if not assembler.sender:
            self._choose_sender(got)
        before = assembler.seen
        yield from assembler.feed(batch.datagrams[:got], batch.lengths[:got], batch.senders[:got], at_s)
        if assembler.seen != before:
            self._heard, self._heard_s = True, at_s

    def _choose_sender(self, got: int) -> None:
        """Keep to the first address that sends a packet with a known header."""
        batch = self._batch
        found = np.flatnonzero(payloads_of(batch.datagrams[:got], batch.lengths[:got]))
        if len(found):
            self.assembler.sender = int(batch.senders[found[0]])

    def _greet(self) -> None:
        at_s = now_s()
        every_s = GREET_AGAIN_S if self._heard else GREET_EVERY_S
        quiet_s = at_s - max(self._greeted_s, self._heard_s if self._heard else 0.0)
        if self._target is None or quiet_s < every_s:
            return
        self._greeted_s = at_s
        try:
            self._socket.sendto(GREETING, self._target)
        except (BlockingIOError, ConnectionRefusedError):
            return
        except OSError as error:
            host, port = self._target
            raise PeerLost(f"cannot register at the detector udp://{host}:{port} from {self.host}: {error.strerror}; "
                           "set the parameter host to the address of the interface that leads there") from None
