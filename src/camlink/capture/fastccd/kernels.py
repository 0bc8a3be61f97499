"""Compiled inner loops of the FastCCD receiver: samples to pixels, and a batch of datagrams to its places.

`place` is the only writer of the state while it runs; it stops with an event whenever a frame has to be closed, so
that closing (and everything that allocates) stays in Python.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

SLOTS: Final = 4
FREE, OPEN, CLOSED = 0, 1, 2
NOTHING, COMPLETE, OVERTAKEN, COLLISION = 0, 1, 2, 3

MEMO_NEWEST, MEMO_EMITTED, MEMO_SERIAL, MEMO_OPEN, MEMO_NUMBER = 0, 1, 2, 3, 4
MEMO_SIZE: Final = 5

DUPLICATE, LATE, SHORT, MALFORMED, FOREIGN, TAILS, BLURBS_SEEN = 0, 1, 2, 3, 4, 5, 6
COUNTS_SIZE: Final = 7

GRACE_PACKETS: Final = 16
LAG_PACKETS: Final = 64
REORDER_PACKETS: Final = 32
FAR_FRAMES: Final = 64
NO_TAIL: Final = -1
BLURB_LENGTH: Final = 48

IS_DATA: Final = -1
"""What a datagram is, or else the place where it is counted."""


class Rules(NamedTuple):
    """What does not change while frames arrive: bytes of a frame, of a payload, of the last one, packets, sender.

    `sender` is the key of the only address that is listened to, 0 for any.
    """

    frame_bytes: int
    payload: int
    last_bytes: int
    packets: int
    sender: int


class Slots(NamedTuple):
    """One row per frame in work.

    number, state, received, expected (the next packet), tail (serial of the packet that brought the tail mark) and
    cut (packets that ended early) i64 (slot,); have u8 (slot, packet); buffer u8 (slot, packets x payload).
    """

    number: NDArray[np.int64]
    state: NDArray[np.int64]
    received: NDArray[np.int64]
    expected: NDArray[np.int64]
    tail: NDArray[np.int64]
    cut: NDArray[np.int64]
    have: NDArray[np.uint8]
    buffer: NDArray[np.uint8]


def new_slots(packets: int, payload_bytes: int) -> Slots:
    """Free slots for frames of `packets` packets."""
    number, state, received, expected, tail, cut = np.zeros((6, SLOTS), np.int64)
    return Slots(number, state, received, expected, tail, cut, np.zeros((SLOTS, packets), np.uint8),
                 np.empty((SLOTS, packets * payload_bytes), np.uint8))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def gather_samples(raw: Any, table: Any, image: Any) -> None:
    """Raw big-endian samples (samples,) u16 to the image (2 rows, x) u16 through the row table (half, x) i32."""
    height, width = image.shape
    rows = height // 2
    for y in range(rows):
        line = raw[2 * width * y:2 * width * (y + 1)]
        top = image[y]
        bottom = image[height - 1 - y]
        for x in range(width):
            a = line[table[0, x]]
            b = line[table[1, x]]
            top[x] = (a >> 8) | ((a & 0xFF) << 8)
            bottom[x] = (b >> 8) | ((b & 0xFF) << 8)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scatter_samples(image: Any, table: Any, raw: Any) -> None:
    """The image (2 rows, x) u16 to raw big-endian samples (samples,) u16: the inverse of `gather_samples`."""
    height, width = image.shape
    for y in range(height // 2):
        line = raw[2 * width * y:2 * width * (y + 1)]
        for x in range(width):
            a = image[y, x]
            b = image[height - 1 - y, x]
            line[table[0, x]] = (a >> 8) | ((a & 0xFF) << 8)
            line[table[1, x]] = (b >> 8) | ((b & 0xFF) << 8)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _nearest(value: int, near: int, modulus: int) -> int:
    half = modulus // 2
    return near + ((value - near + half) & (modulus - 1)) - half


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _index(value: int, expected: int, packets: int) -> int:
    """Packet index from its number modulo 256: nearest to the expected one, inside of the frame; -1 if none is."""
    index = _nearest(value, expected, 256)
    if index < 0:
        index += 256
    if index > packets:
        index -= 256
    return index if 0 <= index <= packets else -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _headed(packet: Any, length: int, payload: int) -> Any:
    """Whether the header is of one of the two styles."""
    if packet[1] == 0xF0:
        return packet[2] == 0xF1 and packet[3] == 0xF2 and packet[4] == 0xF3 and packet[5] == 0xF4
    stated = packet[4] * 256 + packet[5]
    return packet[1] == 0 and length <= stated <= payload + 8


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tailed(packet: Any, length: int) -> bool:
    """Whether the datagram ends in DE AD F0 0D of either tail mark."""
    for back in (6, 5):
        at = length - back
        if (at >= 8 and packet[at] == 0xDE and packet[at + 1] == 0xAD and packet[at + 2] == 0xF0
                and packet[at + 3] == 0x0D):
            return True
    return False


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_blurb(packet: Any, length: int) -> bool:
    if length != BLURB_LENGTH or packet[0] != 0 or packet[1] != 0:
        return False
    content = 0
    for k in range(8, BLURB_LENGTH - 8):
        content |= packet[k]
    return content == 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _classify(packet: Any, length: int, index: int, rules: Any) -> tuple[int, int, bool]:
    """What a datagram is, its bytes of samples, and whether it carries the tail mark."""
    got = length - 8
    tailed = _tailed(packet, length)
    if tailed and _is_blurb(packet, length):
        return BLURBS_SEEN, 0, False
    if index == rules.packets:
        return (TAILS, 0, True) if (tailed and got == 8) or 0 < got < 8 else (MALFORMED, 0, False)
    need = rules.last_bytes if index == rules.packets - 1 else rules.payload
    if got == need:
        return IS_DATA, need, False
    if need < got < need + 8 or (tailed and got == need + 8):
        return IS_DATA, need, tailed
    if got > need:
        return MALFORMED, 0, False
    if tailed and got >= 8:
        return IS_DATA, (got - 8) & ~1, True
    return SHORT, 0, False


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _same(packet: Any, buffer: Any, at: int, size: int) -> bool:
    k = 0
    while k < size and packet[8 + k] == buffer[at + k]:
        k += 1
    return k == size


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _forget(slot: int, slots: Any) -> None:
    slots.received[slot] = 0
    for k in range(slots.have.shape[1]):
        slots.have[slot, k] = 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _settle(packet: Any, length: int, slot: int, rules: Any, slots: Any) -> Any:
    """Packet index of a datagram of the frame in `slot`; tells packets 256 apart by the tail mark and by content."""
    index = _index(packet[0], slots.expected[slot], rules.packets)
    got = length - 8
    if index < 0:
        return -1
    end = rules.packets - 1 if rules.last_bytes + 8 <= rules.payload else rules.packets
    last = rules.last_bytes + 8 if end < rules.packets else 8
    if index != end and (end - index) % 256 == 0 and got == last and _tailed(packet, length):
        _forget(slot, slots)  # a burst longer than the packet counter: nobody knows what is misplaced
        return end
    have = slots.have[slot]
    behind = have[index] if index < rules.packets else 0
    if (index + 256 < rules.packets and got == rules.payload and not have[index + 256]
            and (behind or index + REORDER_PACKETS < slots.expected[slot])
            and not (behind and _same(packet, slots.buffer[slot], index * rules.payload, rules.payload))):
        return index + 256
    return index


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _after_close(packet: Any, length: int, slot: int, known: bool, rules: Any, slots: Any, counts: Any) -> None:
    """Count a datagram of a frame that was closed before: tail, blurb, duplicate or late."""
    index = _index(packet[0], slots.expected[slot] if known else 0, rules.packets)
    kind, _, _ = _classify(packet, length, index, rules) if index >= 0 else (MALFORMED, 0, False)
    if kind == IS_DATA:
        kind = DUPLICATE if known and slots.have[slot, index] else LATE
    counts[kind] += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _open(slot: int, number: int, slots: Any, memo: Any) -> None:
    slots.number[slot] = number
    slots.state[slot] = OPEN
    slots.expected[slot] = 0
    slots.tail[slot] = NO_TAIL
    slots.cut[slot] = 0
    _forget(slot, slots)
    memo[MEMO_OPEN] += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _store(packet: Any, index: int, size: int, slot: int, rules: Any, slots: Any) -> None:
    at = index * rules.payload
    source, target = packet[8:8 + size], slots.buffer[slot, at:at + size]
    for k in range(size):  # compiles in seconds less than a slice assignment and runs as fast
        target[k] = source[k]
    need = rules.last_bytes if index == rules.packets - 1 else rules.payload
    if size < need:  # the sender ended the frame early: the rest has no value
        slots.cut[slot] += 1
        for k in range(at + size, at + need, 2):
            slots.buffer[slot, k] = 0x20
            slots.buffer[slot, k + 1] = 0
    slots.have[slot, index] = 1
    slots.received[slot] += 1
    slots.expected[slot] = index + 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _overtaken(slots: Any, memo: Any) -> bool:
    """Whether an open frame has been left behind by its tail mark and by newer frames; its number goes to the memo."""
    for old in range(SLOTS):
        if slots.state[old] != OPEN:
            continue
        for new in range(SLOTS):
            ahead = slots.number[new] - slots.number[old]
            if slots.state[new] != OPEN or ahead <= 0 or slots.received[new] < 2:
                continue
            ended = slots.tail[old] != NO_TAIL and memo[MEMO_SERIAL] - slots.tail[old] > GRACE_PACKETS
            if ended or ahead >= 2 or slots.received[new] >= LAG_PACKETS:
                memo[MEMO_NUMBER] = slots.number[old]
                return True
    return False


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take(packet: Any, length: int, slot: int, number: int, rules: Any, slots: Any, memo: Any, counts: Any) -> int:
    """Put one datagram of frame `number` to its place in `slot`; the event that follows from it."""
    fresh = slots.state[slot] != OPEN or slots.number[slot] != number
    index = _index(packet[0], 0, rules.packets) if fresh else _settle(packet, length, slot, rules, slots)
    kind, size, tailed = _classify(packet, length, index, rules) if index >= 0 else (MALFORMED, 0, False)
    if kind != IS_DATA:
        counts[kind] += 1
    if (kind == TAILS or tailed) and not fresh and slots.tail[slot] == NO_TAIL:
        slots.tail[slot] = memo[MEMO_SERIAL]
    if kind != IS_DATA:
        return NOTHING
    if fresh:
        if slots.state[slot] == OPEN:
            memo[MEMO_NUMBER] = slots.number[slot]
            return COLLISION
        _open(slot, number, slots, memo)
        if tailed:
            slots.tail[slot] = memo[MEMO_SERIAL]
    if slots.have[slot, index]:
        counts[DUPLICATE] += 1
        return NOTHING
    _store(packet, index, size, slot, rules, slots)
    near = number - memo[MEMO_NEWEST] <= FAR_FRAMES
    if number > memo[MEMO_NEWEST] and (near or slots.received[slot] >= min(2, rules.packets)):
        memo[MEMO_NEWEST] = number
    if slots.received[slot] == rules.packets:
        memo[MEMO_NUMBER] = number
        return COMPLETE
    return OVERTAKEN if memo[MEMO_OPEN] > 1 and _overtaken(slots, memo) else NOTHING


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def place(packets: Any, lengths: Any, senders: Any, start: int, rules: Any, slots: Any, memo: Any,
          counts: Any) -> tuple[int, int]:
    """Put datagrams (n, stride) u8 from `start` on to their places; where it stopped, and why.

    The event is NOTHING at the end of the batch; COMPLETE, OVERTAKEN or COLLISION ask to close the frame
    `memo[MEMO_NUMBER]` (and all older ones) and to call again.
    """
    for i in range(start, len(lengths)):
        packet, length = packets[i], lengths[i]
        if rules.sender != 0 and senders[i] != rules.sender:
            counts[FOREIGN] += 1
            continue
        if length < 8 or length > packets.shape[1] or not _headed(packet, length, rules.payload):
            counts[MALFORMED] += 1
            continue
        number = _nearest(packet[6] * 256 + packet[7], memo[MEMO_NEWEST], 65536)
        slot = number % SLOTS
        if number <= memo[MEMO_EMITTED]:
            known = slots.state[slot] == CLOSED and slots.number[slot] == number
            _after_close(packet, length, slot, known, rules, slots, counts)
            continue
        event = _take(packet, length, slot, number, rules, slots, memo, counts)
        if event == COLLISION:
            return i, event
        memo[MEMO_SERIAL] += 1
        if event != NOTHING:
            return i + 1, event
    return len(lengths), NOTHING
