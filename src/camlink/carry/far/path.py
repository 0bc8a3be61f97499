"""Path: the way that a link takes between machines, as it was measured; what the address of a far outlet says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from camlink.errors import InputError

TYPICAL_BYTES: Final = 1 << 20
BURDEN: Final = {"direct": 1.0, "ssh": 1.25, "relay": 1.5}
"""By how much a way has to be better than a direct one, because others carry its bytes too."""


class Way(NamedTuple):
    """One way: of which kind, and what a socket connects to: ours, or, where the way is `inward`, the sender's."""

    by: str
    endpoint: str
    inward: bool = False

    def __str__(self) -> str:
        return f"{self.by} {self.endpoint}" + ", dialled by the sender" * self.inward


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """The way that a receiver takes, as measured before; rates and times are 0 where nobody had the time to answer.

    `tried` says what became of all ways, `chosen` how often one was chosen: more than once when one broke.
    """

    receiver: str
    by: str
    to: str
    round_trip_ms: float
    bytes_per_s: float
    tried: dict[str, str]
    chosen: int = 1

    def __str__(self) -> str:
        """For people."""
        rate = f", {self.bytes_per_s / 1e6:.0f} MB/s" if self.bytes_per_s else ""
        return f"{self.by} ({self.round_trip_ms:.1f} ms{rate})"


class Tried(NamedTuple):
    """How a way did: the time of its handshake and of a question [s], and the rate of an answer; 0 when unknown."""

    way: Way
    handshake_s: float = 0.0
    round_trip_s: float = 0.0
    bytes_per_s: float = 0.0

    @property
    def cost(self) -> tuple[bool, float]:
        """What is best is first: measured ones by the time that a block of 1 MiB takes, the others by handshake."""
        took_s = self.round_trip_s + TYPICAL_BYTES / self.bytes_per_s if self.bytes_per_s else self.handshake_s
        return not self.bytes_per_s, took_s * BURDEN[self.way.by]

    def __str__(self) -> str:
        if not self.handshake_s:
            return "no answer"
        if not self.bytes_per_s:
            return f"connected in {self.handshake_s * 1e3:.1f} ms"
        return f"{self.round_trip_s * 1e3:.1f} ms, {self.bytes_per_s / 1e6:.0f} MB/s"


def write_address(lane: str, socket: str, direct: Sequence[str]) -> str:
    """The address of an outlet: its lane at the relay, its own socket, and where it can be dialled directly."""
    return ";".join((f"far://{lane}", socket, *direct))


def read_address(address: str) -> tuple[str, str, tuple[str, ...]]:
    """Lane, socket and direct endpoints; raises InputError when it is no address of a far outlet."""
    lane, *more = address.split(";")
    if not lane.startswith("far://") or not more or not more[0].startswith("/") or not all(
            end.startswith("tcp://") for end in more[1:]):
        raise InputError(f"no link to another machine leads to '{address[:100]}'")
    return lane.removeprefix("far://"), more[0], tuple(more[1:])
