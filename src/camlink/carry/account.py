"""Account: what passed one end of one link, counted in frames; written by one thread, read by any."""

from __future__ import annotations

import math
from typing import Final, TypeVar

import msgspec

from camlink.errors import WireError

_BINS: Final = 256
_PER_OCTAVE: Final = 8
K = TypeVar("K", bound=int | str)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An account at one moment; for a sender: offered = sent + dropped, sent = acknowledged + lost + in flight."""

    sent: int = 0
    received: int = 0
    acknowledged: int = 0
    dropped: dict[str, int] = {}
    lost: dict[str, int] = {}
    blocks: int = 0
    bytes: int = 0
    queue_bytes: int = 0
    peak_queue_bytes: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    refused: int = 0
    ages: dict[int, int] = {}
    max_age_s: float = 0.0

    @property
    def in_flight(self) -> int:
        """Frames sent and neither acknowledged nor lost."""
        return self.sent - self.acknowledged - sum(self.lost.values())

    def age_ms(self, quantile: float) -> float:
        """Age below which `quantile` of the blocks arrived [ms]; 0 when none did."""
        wanted = quantile * sum(self.ages.values())
        seen = 0
        for slot in sorted(self.ages):
            seen += self.ages[slot]
            if seen >= wanted:
                return min(_age_of(slot + 1) * 1e3, self.max_age_s * 1e3)
        return 0.0


def merge(snapshots: list[Snapshot]) -> Snapshot:
    """The sum of several accounts of the same link (one for each replica)."""
    total: dict[str, int] = {}
    for name in ("sent", "received", "acknowledged", "blocks", "bytes", "queue_bytes", "peak_queue_bytes", "refused"):
        total[name] = sum(getattr(s, name) for s in snapshots)
    starts = [s.first_s for s in snapshots if s.first_s]
    return Snapshot(
        **total,
        dropped=_added([s.dropped for s in snapshots]),
        lost=_added([s.lost for s in snapshots]),
        ages=_added([s.ages for s in snapshots]),
        max_age_s=max((s.max_age_s for s in snapshots), default=0.0),
        first_s=min(starts, default=0.0),
        last_s=max((s.last_s for s in snapshots), default=0.0),
    )


def _added(parts: list[dict[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for part in parts:
        for key, n in part.items():
            total[key] = total.get(key, 0) + n
    return total


def _age_of(slot: int) -> float:
    return 1e-6 * math.exp2(slot / _PER_OCTAVE)


class Account:
    """Running counters of one end of a link."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.acknowledged = 0
        self.dropped: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.blocks = 0
        self.bytes = 0
        self.queue_bytes = 0
        self.peak_queue_bytes = 0
        self.refused = 0
        self._first_s = 0.0
        self._last_s = 0.0
        self._ages = [0] * _BINS
        self._max_age_s = 0.0

    def count_sent(self, frames: int, nbytes: int, now_s: float) -> None:
        """A block left this end; it is in flight until acknowledged or lost."""
        self.sent += frames
        self._passed(nbytes, now_s)
        self.queue(nbytes)

    def count_received(self, frames: int, nbytes: int, now_s: float, made_s: float) -> None:
        """A block arrived at this end, `now_s - made_s` old."""
        self.received += frames
        self._passed(nbytes, now_s)
        age = max(now_s - made_s, 0.0)
        self._max_age_s = max(self._max_age_s, age)
        slot = int(_PER_OCTAVE * math.log2(max(age * 1e6, 1.0)))
        self._ages[min(slot, _BINS - 1)] += 1

    def count_acknowledged(self, frames: int, nbytes: int) -> None:
        """The other end is done with a block.

        Raises WireError when it acknowledges more than was sent.
        """
        if frames < 0 or self.acknowledged + frames + sum(self.lost.values()) > self.sent:
            raise WireError(f"the receiver acknowledges {frames} frames, {self.sent - self.acknowledged} are in flight")
        self.acknowledged += frames
        self.queue(-nbytes)

    def count_dropped(self, policy: str, frames: int) -> None:
        """Frames that the named policy dropped before they were sent."""
        self.dropped[policy] = self.dropped.get(policy, 0) + frames

    def count_lost(self, reason: str, frames: int) -> None:
        """Frames that were sent, or should have been, and never arrive, with the reason."""
        if frames:
            self.lost[reason] = self.lost.get(reason, 0) + frames

    def queue(self, change: int) -> None:
        """Bytes that wait on this link, and their peak."""
        self.queue_bytes += change
        self.peak_queue_bytes = max(self.peak_queue_bytes, self.queue_bytes)

    def snapshot(self) -> Snapshot:
        """The counters now."""
        return Snapshot(
            sent=self.sent, received=self.received, acknowledged=self.acknowledged, dropped=dict(self.dropped),
            lost=dict(self.lost), blocks=self.blocks, bytes=self.bytes, queue_bytes=self.queue_bytes,
            peak_queue_bytes=self.peak_queue_bytes, first_s=self._first_s, last_s=self._last_s, refused=self.refused,
            ages={slot: n for slot, n in enumerate(self._ages) if n}, max_age_s=self._max_age_s,
        )

    def _passed(self, nbytes: int, now_s: float) -> None:
        self.blocks += 1
        self.bytes += nbytes
        self._first_s = self._first_s or now_s
        self._last_s = now_s
