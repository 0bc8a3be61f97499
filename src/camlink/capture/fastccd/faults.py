"""Faults: what a simulated camera does wrong on demand, every choice fixed by a seed."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.wire import HEADER_BYTES, Layout
from camlink.capture.fault_set import FaultSet, Probability

Count = Annotated[int, msgspec.Meta(ge=0)]
NEVER: Final = -1


class Faults(FaultSet, frozen=True, kw_only=True):
    """Probabilities per packet or frame, and numbers.

    drop_packets, duplicate, reorder, truncate, garbage: per packet with samples; each lost packet takes `burst` - 1
    more with it. drop_frames, missing_tail: per frame. start_number is added to every frame number. stop_after: so
    many frames are sent, then none. stall_after: after so many frames the sender sleeps stall_s [s] once. -1: never.
    """

    drop_packets: Probability = 0.0
    drop_frames: Probability = 0.0
    burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    duplicate: Probability = 0.0
    reorder: Probability = 0.0
    truncate: Probability = 0.0
    garbage: Probability = 0.0
    missing_tail: Probability = 0.0
    start_number: Count = 0
    stop_after: Annotated[int, msgspec.Meta(ge=NEVER)] = NEVER
    stall_after: Annotated[int, msgspec.Meta(ge=NEVER)] = NEVER
    stall_s: Annotated[float, msgspec.Meta(ge=0.0, le=600.0)] = 2.0


NO_FAULTS: Final = Faults()


class SentCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated camera really did; for each frame, packets + packets_dropped + truncated = packets of a frame.

    frames_lost had no usable packet, frames_damaged some. `malformed` datagrams came from the camera's own address,
    `foreign` ones from another.
    """

    frames: int = 0
    packets: int = 0
    packets_dropped: int = 0
    frames_damaged: int = 0
    frames_lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    truncated: int = 0
    foreign: int = 0
    malformed: int = 0
    tails_missing: int = 0

    def plus(self, other: SentCounts) -> SentCounts:
        """The sum of both, field by field."""
        return SentCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Script(msgspec.Struct, frozen=True):
    """What to send for one frame: rows of the encoded datagrams in order, their lengths, and what that counts as.

    `garbage` holds (place in the order, whether it is foreign).
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    counts: SentCounts
    garbage: tuple[tuple[int, bool], ...] = ()


def script(layout: Layout, lengths: NDArray[np.int64], faults: Faults, random: np.random.Generator,
           position: int) -> Script:
    """The datagrams to send for frame `position` (counted from 0) of a stream with `faults`."""
    packets = layout.packets
    stopped = faults.stop_after != NEVER and position >= faults.stop_after
    if random.random() < faults.drop_frames or stopped:
        nothing = np.empty(0, np.int64)
        return Script(nothing, nothing, SentCounts(frames=1, packets_dropped=packets, frames_lost=1))
    dropped = _dropped(packets, faults, random)
    cut = ~dropped & (random.random(packets) < faults.truncate)
    sizes = lengths.copy()
    sizes[:packets][cut] = HEADER_BYTES + (sizes[:packets][cut] - HEADER_BYTES) // 4
    keep = np.ones(len(lengths), bool)
    keep[:packets] = ~dropped
    tailless = random.random() < faults.missing_tail and (layout.tail_packet or not (dropped[-1] or cut[-1]))
    if tailless and layout.tail_packet:
        keep[-1] = False
    elif tailless:
        sizes[-1] -= 8
    rows = np.flatnonzero(keep)
    again = (rows < packets) & (random.random(len(rows)) < faults.duplicate) & ~np.append(cut, [True] * 2)[rows]
    rows = np.repeat(rows, 1 + again)
    rows, swapped = _reordered(rows, faults, random)
    spoiled = np.flatnonzero(random.random(len(rows)) < faults.garbage)
    garbage = tuple((int(at), bool(random.integers(2))) for at in spoiled)
    usable = packets - int(dropped.sum()) - int(cut.sum())
    foreign = sum(alien for _, alien in garbage)
    return Script(rows, sizes[rows], SentCounts(
        frames=1, packets=usable, packets_dropped=int(dropped.sum()), frames_lost=int(usable == 0),
        frames_damaged=int(0 < usable < packets), duplicated=int(again.sum()), reordered=swapped,
        truncated=int(cut.sum()), foreign=foreign, malformed=len(garbage) - foreign, tails_missing=int(tailless)),
        garbage)


def _dropped(packets: int, faults: Faults, random: np.random.Generator) -> NDArray[np.bool_]:
    hit = random.random(packets) < faults.drop_packets
    lost = hit.copy()
    for place in np.flatnonzero(hit):
        lost[place:place + faults.burst] = True
    return lost


def _reordered(rows: NDArray[np.int64], faults: Faults,
               random: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """Swap chosen datagrams with their followers."""
    order = rows.copy()
    chosen = np.flatnonzero(random.random(max(len(rows) - 1, 0)) < faults.reorder)
    swapped, last = 0, -2
    for at in chosen.tolist():
        if at > last + 1:
            order[[at, at + 1]] = order[[at + 1, at]]
            swapped, last = swapped + 1, at
    return order, swapped


def malformed_datagram(random: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """Bytes (length,) u8 with a header of no known style."""
    junk = random.integers(0, 256, length, dtype=np.uint8)
    if length > 1:
        junk[1] = 0xA5
    return junk
