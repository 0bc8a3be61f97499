from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camlink.capture.fastccd.assemble import Assembler
from camlink.capture.fastccd.geometry import Geometry
from camlink.capture.fastccd.wire import Encoder, Layout

SMALL = Geometry(rows=10, chips=1)  # 3840 bytes
LONG = Geometry(rows=120, chips=1)  # 46080 bytes: 720 packets of 64, more than the packet counter tells apart
RANDOM = np.random.default_rng(5)
IMAGES = {g: RANDOM.integers(0, 0x2000, (4, *g.shape), dtype=np.uint16) for g in (SMALL, LONG)}
CAMERA, STRANGER = 7, 9


class Wire:
    """Datagrams of numbered frames, to be sent in any order."""

    def __init__(self, geometry=SMALL, payload=256, style="camera", first=0, **options):
        self.geometry = geometry
        self.encoder = Encoder(Layout(geometry, payload), style=style, port=1)
        self.layout = self.encoder.layout
        self.assembler = Assembler(geometry, first_number=first, sender=CAMERA, **options)
        self.got = []

    def image(self, number):
        return IMAGES[self.geometry][number % 4]

    def frame(self, number):
        datagrams, lengths = self.encoder.encode(number, self.image(number))
        return [bytes(row[:size]) for row, size in zip(datagrams, lengths, strict=True)]

    def send(self, packets, sender=CAMERA, now_s=0.0, batch=37):
        for at in range(0, len(packets), batch):
            part = packets[at:at + batch]
            array = np.zeros((len(part), 9216), np.uint8)
            for row, packet in zip(array, part, strict=True):
                row[:len(packet)] = np.frombuffer(packet, np.uint8)[:9216]
            lengths = np.array([len(p) for p in part], np.int64)
            self.got += self.assembler.feed(array, lengths, np.full(len(part), sender, np.int64), now_s)
        self.check()
        return self.got

    def check(self):
        """Whatever happened: numbers rise, known samples are right, unknown ones are marked, sums agree."""
        numbers = [f.number for f in self.got]
        assert numbers == sorted(set(numbers))
        for frame in self.got:
            known = frame.image == self.image(frame.number)
            assert (frame.image[~known] == 0x2000).all()
            assert frame.damaged or known.all()
            assert frame.damaged == (frame.missing is not None) or known.all() is not True
        c = self.assembler.counters
        if self.assembler.layout:
            frames = c.frames_ok + c.frames_partial + c.frames_lost
            assert c.packets_ok + c.missing == self.layout.packets * frames
        assert c.frames_ok + c.frames_partial == len(self.got)

    def end(self, last):
        self.got += self.assembler.flush(0.0, last)
        self.check()
        return self.assembler.counters


def without(items, *places):
    gone = {p % len(items) for p in places}
    return [item for at, item in enumerate(items) if at not in gone]


@pytest.mark.parametrize("style", ["camera", "simulator"])
@pytest.mark.parametrize("payload", [256, 250, 4096, 3840, 3844, 8184])
def test_perfect_frames_come_out_perfect(style, payload):
    wire = Wire(payload=payload, style=style)
    for number in range(6):
        wire.send(wire.frame(number) + ([bytes(wire.encoder.blurb)] * 2 if style == "simulator" else []))
    c = wire.end(5)
    assert (c.frames_ok, c.frames_partial, c.frames_lost, c.duplicate, c.late, c.malformed, c.short) == (6, *[0] * 6)
    assert [f.number for f in wire.got] == list(range(6))
    assert c.blurbs == (12 if style == "simulator" else 0)


@pytest.mark.parametrize("place", [0, 1, 7, -2, -1])
def test_one_lost_packet_is_marked_and_counted(place):
    wire = Wire()  # 15 packets and one for the tail mark
    wire.send(without(wire.frame(0), place) + wire.frame(1) + wire.frame(2))
    c = wire.end(2)
    lost_data = place != -1
    assert (c.frames_ok, c.frames_partial, c.frames_lost, c.missing) == (3 - lost_data, int(lost_data), 0, lost_data)
    assert c.duplicate == c.late == c.malformed == 0
    if lost_data:
        missing = wire.got[0].missing
        assert list(np.flatnonzero(missing)) == [place if place >= 0 else 14]
        assert (wire.got[0].image == 0x2000).sum() == 128


def test_a_lost_tail_and_last_packet_ends_at_the_deadline():
    wire = Wire(deadline_s=0.3)
    wire.send(without(wire.frame(0), -1, -2))
    assert list(wire.assembler.expire(0.2)) == []
    frames = list(wire.assembler.expire(0.31))
    assert [f.number for f in frames] == [0]
    assert frames[0].missing.sum() == 1


def test_a_tail_mark_ends_a_damaged_frame_soon():
    wire = Wire(deadline_s=60.0)
    wire.send(without(wire.frame(0), 3))
    assert wire.got == []
    assert [f.number for f in wire.assembler.expire(0.05)] == [0]


@pytest.mark.parametrize("first", [65533, 65535, 3 * 65536 - 2])
@pytest.mark.parametrize("lost", [set(), {2, 3}, {0, 1, 2, 3, 4}, {1, 3}])
def test_numbers_survive_the_wrap_with_frames_lost_around_it(first, lost):
    wire = Wire(first=first)
    for step in range(8):
        if step not in lost:
            wire.send(wire.frame(first + step))
    c = wire.end(first + 7)
    assert [f.number for f in wire.got] == [first + s for s in range(8) if s not in lost]
    assert c.frames_lost == len(lost)


def test_an_open_65535_does_not_stop_what_follows_a_lost_frame_0():
    wire = Wire(first=65535)
    wire.send(wire.frame(65535)[:5] + wire.frame(65537) + wire.frame(65538))
    assert [f.number for f in wire.got] == [65535, 65537, 65538]
    assert wire.assembler.counters.frames_lost == 1


@pytest.mark.parametrize("jump", [99, 100, 101, 128, 5000])
def test_many_lost_frames_keep_the_numbers_right(jump):
    wire = Wire()
    wire.send(wire.frame(0) + wire.frame(1 + jump) + wire.frame(2 + jump))
    c = wire.end(2 + jump)
    assert [f.number for f in wire.got] == [0, 1 + jump, 2 + jump]
    assert (c.frames_ok, c.frames_lost, c.malformed) == (3, jump, 0)


def test_the_last_frames_lost_are_counted_at_the_end():
    wire = Wire()
    wire.send(wire.frame(0))
    c = wire.end(4)
    assert (c.frames_lost, c.missing) == (4, 4 * 15)


@pytest.mark.parametrize("burst", [90, 130, 200, 256, 300, 500])
@pytest.mark.parametrize("begin", [0, 40, 150])
def test_bursts_longer_than_the_packet_counter_never_misplace_samples(burst, begin):
    wire = Wire(LONG, payload=64)
    packets = wire.frame(0)
    wire.send(packets[:begin] + packets[begin + burst:] + wire.frame(1))
    c = wire.end(1)
    assert c.frames_partial == c.frames_ok == 1
    assert c.missing >= burst
    if burst <= 200:
        assert c.missing == burst


@pytest.mark.parametrize("burst", [256, 300, 400])
def test_a_long_burst_that_takes_the_tail_along_never_misplaces_samples(burst):
    wire = Wire(LONG, payload=64)
    packets = wire.frame(0)
    wire.send(packets[:100] + packets[100 + burst:-1] + wire.frame(1))
    assert wire.end(1).frames_partial == 1


def test_a_burst_after_a_lost_packet_of_the_same_number_never_misplaces_samples():
    wire = Wire(LONG, payload=64)
    packets = wire.frame(0)
    wire.send(without(packets[:150], 94) + packets[350:] + wire.frame(1))
    assert wire.end(1).missing == 201


def test_duplicates_are_counted_before_and_after_the_end_of_their_frame():
    wire = Wire()
    packets = wire.frame(0)
    wire.send([*packets[:4], packets[2], *packets[4:], packets[1], packets[-1], *wire.frame(1)])
    c = wire.end(1)
    assert (c.duplicate, c.late, c.frames_ok, c.malformed) == (2, 0, 2, 0)


def test_reordered_packets_lose_nothing_across_a_frame_border():
    wire = Wire()
    packets = wire.frame(0) + wire.frame(1) + wire.frame(2)
    for at in (2, 13, 14, 15, 20, 30):
        packets[at], packets[at + 1] = packets[at + 1], packets[at]
    wire.send(packets)
    c = wire.end(2)
    assert (c.frames_ok, c.frames_partial, c.late, c.duplicate) == (3, 0, 0, 0)


def test_late_packets_change_nothing():
    wire = Wire()
    packets = wire.frame(0)
    wire.send(without(packets, 5) + wire.frame(1) + wire.frame(2) + [packets[5]])
    c = wire.end(2)
    assert (c.late, c.frames_partial, c.frames_ok, c.missing) == (1, 1, 2, 1)
    assert wire.got[0].missing[5]


def test_short_packets_are_missing_ones():
    wire = Wire()
    packets = wire.frame(0)
    packets[4] = packets[4][:100]
    packets[9] = packets[9][:8]
    wire.send(packets + wire.frame(1) + wire.frame(2))
    c = wire.end(2)
    assert (c.short, c.missing, c.frames_partial, c.malformed) == (2, 2, 1, 0)


def test_a_short_first_packet_does_not_fix_the_payload_size():
    wire = Wire()
    packets = wire.frame(0)
    packets[0] = packets[0][:150]
    wire.send(packets[:1])
    wire.send(packets[1:] + wire.frame(1) + wire.frame(2))
    c = wire.end(2)
    assert (c.short, c.missing, c.frames_partial, c.frames_ok) == (1, 1, 1, 2)


def test_a_frame_that_the_sender_ends_early_is_damaged():
    wire = Wire()
    packets = wire.frame(0)
    early = packets[13][:8 + 56] + packets[15][8:]
    wire.send([*packets[:13], early, *wire.frame(1), *wire.frame(2)])
    c = wire.end(2)
    assert (c.frames_partial, c.missing, c.frames_ok) == (1, 1, 2)
    assert (wire.got[0].image == 0x2000).sum() == 128 + 100


def test_a_tail_of_a_lost_frame_opens_nothing():
    wire = Wire()
    wire.send(wire.frame(0) + wire.frame(1)[-1:])
    assert not wire.assembler.waiting
    wire.send(wire.frame(2))
    c = wire.end(2)
    assert (c.frames_lost, c.frames_ok, c.duplicate) == (1, 2, 0)


def test_a_foreign_sender_is_counted_and_named():
    wire = Wire()
    wire.send(wire.frame(0)[:7])
    wire.send(wire.frame(0), sender=STRANGER)
    wire.send(wire.frame(0)[7:])
    c = wire.end(0)
    assert (c.foreign, c.frames_ok, c.duplicate) == (16, 1, 0)
    assert wire.assembler.foreign_senders == {STRANGER}


def test_one_wild_frame_number_disturbs_nothing():
    wire = Wire(deadline_s=0.5)
    wild = wire.frame(20003)[3]
    wire.send([*wire.frame(0), wild, *wire.frame(1), *wire.frame(2)], now_s=0.0)
    assert list(wire.assembler.expire(1.0)) == []
    wire.send(wire.frame(3), now_s=1.0)
    c = wire.end(3)
    assert (c.frames_ok, c.frames_lost, c.malformed) == (4, 0, 1)


def test_without_a_first_number_the_first_frame_counts():
    wire = Wire(first=None)
    wire.send(wire.frame(900) + wire.frame(902))
    assert [f.number for f in wire.got] == [900, 902]
    assert wire.assembler.counters.frames_lost == 1


def test_frames_are_written_where_the_caller_says():
    stack = np.zeros((2, *SMALL.shape), np.uint16)
    rows = iter(stack)
    wire = Wire(allocate=lambda: next(rows))
    wire.send(wire.frame(0) + wire.frame(1))
    np.testing.assert_array_equal(stack, IMAGES[SMALL][:2])


def test_tail_marks_inside_of_data_are_data():
    wire = Wire()
    image = IMAGES[SMALL][0].copy()
    image[:] = np.frombuffer(b"\xAD\xDE\x0D\xF0", np.uint16)[0]
    datagrams, lengths = wire.encoder.encode(0, image)
    datagrams[:15, -8:] = np.frombuffer(bytes.fromhex("F0F1F2DEADF00D01"), np.uint8)
    frames = list(wire.assembler.feed(np.pad(datagrams, ((0, 0), (0, 100))), lengths, np.full(16, CAMERA), 0.0))
    assert len(frames) == 1
    assert not frames[0].damaged


junk = st.one_of(
    st.binary(max_size=400),
    st.builds(lambda a, n, body: bytes([a]) + bytes.fromhex("F0F1F2F3F4") + n.to_bytes(2, "big") + body,
              st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300)),
    st.builds(lambda a, n, body: bytes([a, 0, 0, 1, 1, 8]) + n.to_bytes(2, "big") + body + bytes.fromhex(
        "F0F1F2DEADF00D01"), st.integers(0, 255), st.integers(0, 40), st.binary(max_size=300)))


@settings(max_examples=40, deadline=None)
@given(st.lists(junk, max_size=40), st.integers(0, 2**32 - 1))
def test_garbage_never_raises_and_sums_agree(garbage, seed):
    random = np.random.default_rng(seed)
    wire = Wire()
    good = [p for number in range(3) for p in wire.frame(number)]
    packets = list(good)
    for item in garbage:
        packets.insert(int(random.integers(len(packets) + 1)), item)
    for at in range(0, len(packets), 20):
        part = packets[at:at + 20]
        array = np.zeros((len(part), 512), np.uint8)
        for row, packet in zip(array, part, strict=True):
            row[:len(packet)] = np.frombuffer(packet, np.uint8)
        wire.got += wire.assembler.feed(array, np.array([len(p) for p in part]), np.full(len(part), CAMERA), 0.0)
    wire.got += wire.assembler.flush(0.0)
    numbers = [f.number for f in wire.got]
    assert numbers == sorted(set(numbers))
    c = wire.assembler.counters
    if wire.assembler.layout:
        frames = c.frames_ok + c.frames_partial + c.frames_lost
        assert c.packets_ok + c.missing == wire.assembler.layout.packets * frames


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([256, 250]), st.sampled_from([0, 65530]))
def test_random_loss_is_counted_to_the_packet(seed, payload, first):
    """Drops, duplicates and small reorderings against a plain account of what was sent."""
    random = np.random.default_rng(seed)
    wire = Wire(payload=payload, first=first)
    sent, kept, twice = [], {}, 0
    for number in range(first, first + 9):
        packets = wire.frame(number)
        for index, packet in enumerate(packets):
            data = index < wire.layout.packets
            if random.random() < 0.1:
                continue
            kept.setdefault(number, set()).update({index} if data else ())
            again = data and random.random() < 0.1
            twice += again
            sent += [packet] * (1 + again)
    for at in np.flatnonzero(random.random(max(len(sent) - 1, 0)) < 0.1):
        sent[at], sent[at + 1] = sent[at + 1], sent[at]
    wire.send(sent)
    c = wire.end(first + 8)
    counts = [len(kept.get(n, ())) for n in range(first, first + 9)]
    assert c.packets_ok == sum(counts)
    assert c.frames_ok == counts.count(wire.layout.packets)
    assert c.frames_lost == counts.count(0)
    assert c.duplicate == twice
    assert c.late == 0
    for frame in wire.got:
        arrived = set(range(wire.layout.packets)) if frame.missing is None else set(np.flatnonzero(~frame.missing))
        assert arrived == kept[frame.number]
