"""Account: what passed one end of one link, counted in frames; written by one thread, read by any."""

from __future__ import annotations

import math
from collections import deque
from typing import Final, TypeVar

import msgspec

from camlink.carry.far.path import Path

_BINS: Final = 256
_PER_OCTAVE: Final = 8
_OLDEST_S: Final = 1e10
_NOTES: Final = 16
_MOST_STRANGERS: Final = 32
K = TypeVar("K", bound=int | str)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An account at one moment, in frames.

    For a sender: offered = acknowledged + dropped + lost + kept, and sent = acknowledged + lost + in flight; `kept` is
    counted from the blocks in custody (waiting, in flight or spilled), never derived. `resent` went more than once.
    """

    offered: int = 0
    kept: int = 0
    resent: int = 0
    spilled: int = 0
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
    turned_away: dict[str, int] = {}
    ages: dict[int, int] = {}
    age_sum_s: float = 0.0
    max_age_s: float = 0.0
    hops: dict[int, int] = {}
    hop_sum_s: float = 0.0
    max_hop_s: float = 0.0
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()

    @property
    def in_flight(self) -> int:
        """Frames sent and neither acknowledged nor lost."""
        return self.sent - self.acknowledged - sum(self.lost.values())

    def age_ms(self, quantile: float) -> float:
        """Age since capture below which `quantile` of the blocks arrived [ms]; 0 when none did."""
        return _quantile_ms(self.ages, quantile, self.max_age_s)

    def hop_ms(self, quantile: float) -> float:
        """Time on this link alone within which `quantile` of the blocks arrived [ms]; 0 when none did."""
        return _quantile_ms(self.hops, quantile, self.max_hop_s)

    def fault(self) -> str:
        """What is wrong with the account of a sender; empty when every frame is in exactly one place."""
        dropped, lost = sum(self.dropped.values()), sum(self.lost.values())
        if self.offered != self.acknowledged + dropped + lost + self.kept:
            return (f"{self.offered} frames offered, but {self.acknowledged} acknowledged, {dropped} dropped, "
                    f"{lost} lost and {self.kept} kept")
        if not 0 <= self.in_flight <= self.kept:
            return f"{self.in_flight} frames in flight, but {self.kept} kept"
        return ""


def merge(snapshots: list[Snapshot]) -> Snapshot:
    """The sum of several accounts of the same link (one for each replica)."""
    total: dict[str, int] = {}
    for name in ("offered", "kept", "resent", "spilled", "sent", "received", "acknowledged", "blocks", "bytes",
                 "queue_bytes", "peak_queue_bytes", "refused"):
        total[name] = sum(getattr(s, name) for s in snapshots)
    starts = [s.first_s for s in snapshots if s.first_s]
    return Snapshot(
        **total,
        dropped=_added([s.dropped for s in snapshots]),
        lost=_added([s.lost for s in snapshots]),
        turned_away=_added([s.turned_away for s in snapshots]),
        ages=_added([s.ages for s in snapshots]),
        age_sum_s=sum(s.age_sum_s for s in snapshots),
        max_age_s=max((s.max_age_s for s in snapshots), default=0.0),
        hops=_added([s.hops for s in snapshots]),
        hop_sum_s=sum(s.hop_sum_s for s in snapshots),
        max_hop_s=max((s.max_hop_s for s in snapshots), default=0.0),
        notes=tuple(dict.fromkeys(note for s in snapshots for note in s.notes)),
        paths=tuple(path for s in snapshots for path in s.paths),
        first_s=min(starts, default=0.0),
        last_s=max((s.last_s for s in snapshots), default=0.0),
    )


class Histogram(msgspec.Struct, frozen=True):
    """Blocks by time: `blocks[k]` took less than `edges_ms[k]`, and no less than half of it, the edge before."""

    edges_ms: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    sum_ms: float = 0.0

    @classmethod
    def of(cls, slots: dict[int, int], sum_s: float) -> Histogram:
        """The histogram of an account, from its shortest to its longest time."""
        if not slots:
            return cls()
        first, last = min(slots) // _PER_OCTAVE, max(slots) // _PER_OCTAVE
        blocks = [0] * (last - first + 1)
        for slot, count in slots.items():
            blocks[slot // _PER_OCTAVE - first] += count
        edges_ms = tuple(2.0 ** (octave + 1) / 1e3 for octave in range(first, last + 1))
        return cls(edges_ms, tuple(blocks), round(sum_s * 1e3, 3))


def _added(parts: list[dict[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for part in parts:
        for key, n in part.items():
            total[key] = total.get(key, 0) + n
    return total


def _age_of(slot: int) -> float:
    return 1e-6 * math.exp2(slot / _PER_OCTAVE)


def _slot_of(age_s: float) -> int:
    return min(int(_PER_OCTAVE * math.log2(max(age_s * 1e6, 1.0))), _BINS - 1)


def _quantile_ms(slots: dict[int, int], quantile: float, longest_s: float) -> float:
    wanted = quantile * sum(slots.values())
    seen = 0
    for slot in sorted(slots):
        seen += slots[slot]
        if seen >= wanted:
            return min(_age_of(slot + 1) * 1e3, longest_s * 1e3)
    return 0.0


class Account:
    """Running counters of one end of a link."""

    def __init__(self) -> None:
        self.offered = self.kept = self.resent = self.spilled = 0
        self.sent = self.received = self.acknowledged = 0
        self.dropped: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.blocks = self.bytes = 0
        self.queue_bytes = self.peak_queue_bytes = 0
        self.refused = 0
        self.turned_away: dict[str, int] = {}
        self._first_s = self._last_s = 0.0
        self._ages = [0] * _BINS
        self._hops = [0] * _BINS
        self._max_age_s = self._max_hop_s = self._age_sum_s = self._hop_sum_s = 0.0
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self.path: Path | None = None

    def count_kept(self, frames: int, nbytes: int) -> None:
        """A block was offered and is in custody."""
        self.offered += frames
        self.kept += frames
        self.queue(nbytes)

    def count_spilled(self, frames: int) -> None:
        """Frames that are offered and wait on disk; negative when they leave it."""
        self.offered += frames
        self.kept += frames
        self.spilled += frames

    def count_let_go(self, frames: int, nbytes: int) -> None:
        """A block is out of custody: acknowledged, dropped or lost."""
        self.kept -= frames
        self.queue(-nbytes)

    def count_sent(self, frames: int, nbytes: int, now_s: float) -> None:
        """A block left this end for the first time; it is in flight until acknowledged or lost."""
        self.sent += frames
        self._passed(nbytes, now_s)

    def count_received(self, frames: int, nbytes: int, now_s: float, made_s: float, sent_s: float) -> None:
        """A block arrived at this end, `now_s - made_s` old and `now_s - sent_s` under way."""
        self.received += frames
        self._passed(nbytes, now_s)
        age, hop = now_s - made_s, now_s - sent_s
        if not 0.0 <= age <= _OLDEST_S:  # what the sender says is no time, or yet to come
            age = 0.0
        if not 0.0 <= hop <= _OLDEST_S:
            hop = 0.0
        if age > self._max_age_s:
            self._max_age_s = age
        if hop > self._max_hop_s:
            self._max_hop_s = hop
        self._age_sum_s += age
        self._hop_sum_s += hop
        self._ages[_slot_of(age)] += 1
        self._hops[_slot_of(hop)] += 1

    def count_dropped(self, policy: str, frames: int) -> None:
        """Frames that the named policy dropped before they were sent."""
        self.dropped[policy] = self.dropped.get(policy, 0) + frames

    def count_lost(self, reason: str, frames: int) -> None:
        """Frames that were sent, or should have been, and never arrive, with the reason."""
        if frames:
            self.lost[reason] = self.lost.get(reason, 0) + frames

    def count_turned_away(self, who_and_why: str, connections: int) -> None:
        """Connections of somebody who was not let in; so many of them are told apart, whoever knocks."""
        known = who_and_why if who_and_why in self.turned_away or len(self.turned_away) < _MOST_STRANGERS else "others"
        self.turned_away[known] = self.turned_away.get(known, 0) + connections

    def queue(self, change: int) -> None:
        """Bytes that wait on this link, and their peak."""
        self.queue_bytes += change
        if self.queue_bytes > self.peak_queue_bytes:
            self.peak_queue_bytes = self.queue_bytes

    def note(self, text: str) -> None:
        """Something that a reader of the report has to know of this link; the last few are kept."""
        if text not in self._notes:
            self._notes.append(text)

    def snapshot(self) -> Snapshot:
        """The counters now."""
        return Snapshot(
            offered=self.offered, kept=self.kept, resent=self.resent, spilled=self.spilled,
            sent=self.sent, received=self.received, acknowledged=self.acknowledged, dropped=dict(self.dropped),
            lost=dict(self.lost), blocks=self.blocks, bytes=self.bytes, queue_bytes=self.queue_bytes,
            peak_queue_bytes=self.peak_queue_bytes, first_s=self._first_s, last_s=self._last_s, refused=self.refused,
            turned_away=dict(self.turned_away),
            ages={slot: n for slot, n in enumerate(self._ages) if n}, age_sum_s=self._age_sum_s,
            max_age_s=self._max_age_s,
            hops={slot: n for slot, n in enumerate(self._hops) if n}, hop_sum_s=self._hop_sum_s,
            max_hop_s=self._max_hop_s,
            notes=tuple(self._notes), paths=(self.path,) if self.path is not None else (),
        )

    def _passed(self, nbytes: int, now_s: float) -> None:
        self.blocks += 1
        self.bytes += nbytes
        self._first_s = self._first_s or now_s
        self._last_s = now_s
