"""Simulator: a FastCCD camera in software that sends real datagrams, paced, and does wrong what it is told to."""

from __future__ import annotations

import select
import socket
import time
from itertools import pairwise
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.batch import SendBatch
from camlink.capture.fastccd.faults import NEVER, NO_FAULTS, Faults, Script, SentCounts, malformed_datagram, script
from camlink.capture.fastccd.geometry import Geometry
from camlink.capture.fastccd.udp import bound
from camlink.capture.fastccd.wire import BLURBS, Encoder, Layout, Style
from camlink.errors import PeerLost

__all__ = ["Faults", "SentCounts", "Simulator"]

HOST: Final = "127.0.0.1"
BURST_PACKETS: Final = 16
SEND_TIMEOUT_S: Final = 5.0
GARBAGE_BYTES: Final = 200
SHORT_SLEEP_S: Final = 50e-6


class Simulator:
    """Sends frames to the receiver that registered by a datagram; binds loopback, and a free port unless asked.

    The packets of a frame are spread over time: BURST_PACKETS at once, `packet_gap_s` [s] for each on average
    (0: as fast as possible). The default, 18 us, is 100 frames of the COSMIC camera per second. Raises AddressInUse
    when `port` is held by somebody else.
    """

    def __init__(self, geometry: Geometry, *, port: int = 0, payload_bytes: int = 4096, style: Style = "camera",
                 faults: Faults = NO_FAULTS, seed: int = 0, packet_gap_s: float = 18e-6) -> None:
        self.geometry, self.faults = geometry, faults
        self.layout = Layout(geometry, payload_bytes)
        self._socket = bound(HOST, port, "the camera simulator")
        self._other = bound(HOST, 0, "the camera simulator")
        self._port = self._socket.getsockname()[1]
        self._encoder = Encoder(self.layout, style=style, port=self._port)
        self._batch = SendBatch(self._encoder.datagrams)
        self._style, self._gap_s = style, packet_gap_s
        self._faulty = np.random.default_rng([seed, 0xFA])
        self._receiver: tuple[str, int] | None = None
        self._counts = SentCounts()
        self._encoder.encode(0, np.zeros(geometry.shape, np.uint16))  # compile now, not in the first frame

    @property
    def address(self) -> str:
        """Where a receiver registers, as udp://host:port."""
        return f"udp://{HOST}:{self._port}"

    @property
    def first_number(self) -> int:
        """The frame number that frame 0 carries."""
        return self.faults.start_number

    @property
    def counts(self) -> SentCounts:
        """What was sent and what was withheld until now."""
        return self._counts

    def wait_for_receiver(self, timeout_s: float) -> None:
        """Wait until a receiver sends a datagram; raises PeerLost when none came in `timeout_s`."""
        ready, _, _ = select.select([self._socket], [], [], max(timeout_s, 0.0))
        if ready:
            self._welcome()
        if self._receiver is None:
            raise PeerLost(f"no receiver registered at {self.address} in {timeout_s:g} s; start the operator fastccd "
                           "with this address, it registers by sending a datagram")

    def send(self, number: int, image: NDArray[np.uint16]) -> None:
        """Send frame `number`, an image (2 rows, 96 chips) u16 [ADU] with its overscan columns.

        Takes about packets x packet_gap_s. Raises PeerLost when no receiver has registered, or when the network does
        not take a datagram for 5 s; ParameterError when the image does not fit.
        """
        self._welcome()
        if self._receiver is None:
            raise PeerLost(f"frame {number}: no receiver has registered at {self.address}; "
                           "call wait_for_receiver first")
        position = self._counts.frames
        if position == self.faults.stall_after != NEVER:
            time.sleep(self.faults.stall_s)
        _, lengths = self._encoder.encode(number + self.faults.start_number, image)
        plan = script(self.layout, lengths, self.faults, self._faulty, position)
        self._transmit(plan, self._receiver, number)
        self._counts = self._counts.plus(plan.counts)

    def close(self) -> None:
        """Close the sockets; may be called twice."""
        self._socket.close()
        self._other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _welcome(self) -> None:
        """Take every registration that waits; the last one is the receiver, so that it may start again."""
        for _ in range(1000):
            try:
                _, self._receiver = self._socket.recvfrom(64, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionRefusedError):
                return

    def _transmit(self, plan: Script, target: tuple[str, int], number: int) -> None:
        batch = self._batch
        if len(plan.rows) > self.layout.datagrams:
            batch = SendBatch(np.ascontiguousarray(self._encoder.datagrams[plan.rows]))
            batch.load(np.arange(len(plan.rows)), plan.lengths, target)
        else:
            batch.load(plan.rows, plan.lengths, target)
        spoil = dict(plan.garbage)
        cuts = sorted({*range(0, len(plan.rows), BURST_PACKETS), *spoil, len(plan.rows)})
        begun_s = time.perf_counter()
        for start, stop in pairwise(cuts):
            self._pace(begun_s + start * self._gap_s)
            if start in spoil:
                self._spoil(spoil[start], plan, start, target)
            self._push(batch, start, stop, number)
        if self._style == "simulator" and len(plan.rows):
            for _ in range(BLURBS):
                self._socket.sendto(self._encoder.blurb.data, target)

    def _push(self, batch: SendBatch, start: int, stop: int, number: int) -> None:
        limit_s = time.perf_counter() + SEND_TIMEOUT_S
        while start < stop:
            if went := batch.send(self._socket, start, stop):
                start += went
                continue
            if time.perf_counter() > limit_s:
                raise PeerLost(f"frame {number}: the network takes no datagram to {self._receiver} for "
                               f"{SEND_TIMEOUT_S:g} s; is the interface up?")
            select.select([], [self._socket], [], 0.1)

    def _pace(self, due_s: float) -> None:
        wait_s = due_s - time.perf_counter()
        if self._gap_s and wait_s > SHORT_SLEEP_S:
            time.sleep(wait_s - SHORT_SLEEP_S / 2)

    def _spoil(self, foreign: bool, plan: Script, at: int, target: tuple[str, int]) -> None:
        """One datagram too many: a good one from a wrong address, or a bad one from the right address."""
        if foreign:
            self._other.sendto(self._encoder.datagrams[plan.rows[at], :plan.lengths[at]].data, target)
        else:
            self._socket.sendto(malformed_datagram(self._faulty, GARBAGE_BYTES).data, target)
