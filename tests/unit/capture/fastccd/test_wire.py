from __future__ import annotations

import numpy as np
import pytest
from detector_image import assembled

from camlink.capture.fastccd.geometry import PRESETS, Geometry
from camlink.capture.fastccd.wire import CAMERA_TAIL, SIMULATOR_TAIL, Encoder, Layout, payloads_of
from camlink.errors import ParameterError


def test_layout_of_the_published_frames():
    cosmic = Layout(PRESETS["cosmic"], 4096)
    assert (cosmic.packets, cosmic.last_bytes, cosmic.tail_packet, cosmic.datagrams) == (585, 4096, True, 586)
    full = Layout(PRESETS["full"], 8184)
    assert (full.packets, full.tail_packet) == (547, False)


@pytest.mark.parametrize("payload", [0, 63, 101, 9210, -2])
def test_bad_payload_sizes_are_refused(payload):
    with pytest.raises(ParameterError, match="payload_bytes"):
        Layout(PRESETS["window"], payload)


@pytest.mark.parametrize(("style", "tail"), [("camera", CAMERA_TAIL), ("simulator", SIMULATOR_TAIL)])
@pytest.mark.parametrize("payload", [4096, 8184, 500])
def test_encoded_bytes_are_those_of_the_reference(style, tail, payload):
    geometry = Geometry(rows=20, chips=2)
    image = np.random.default_rng(2).integers(0, 65536, geometry.shape, dtype=np.uint16)
    encoder = Encoder(Layout(geometry, payload), style=style, port=49203)
    datagrams, lengths = encoder.encode(65536 + 0x0102, image)
    stream = b"".join(row[8:size].tobytes() for row, size in zip(datagrams, lengths, strict=True))
    samples = np.frombuffer(stream.removesuffix(tail), ">u2").astype(np.uint16)
    np.testing.assert_array_equal(assembled(samples, geometry), image)
    for number, (row, size) in enumerate(zip(datagrams, lengths, strict=True)):
        assert row[0] == number % 256
        assert bytes(row[6:8]) == b"\x01\x02"
        if style == "camera":
            word = int.from_bytes(row[:8].tobytes(), "little")
            assert word & 0x0000FFFFFFFFFF00 == 0x0000F4F3F2F1F000
        else:
            assert bytes(row[1:6]) == b"\0" + (49203).to_bytes(2, "big") + int(size).to_bytes(2, "big")


def test_a_tail_mark_is_never_split():
    geometry = Geometry(rows=1, chips=1)  # 384 bytes
    layout = Layout(geometry, 130)  # the last packet has 124 bytes: too full for the mark
    assert layout.last_bytes == 124
    assert layout.tail_packet
    _, lengths = Encoder(layout).encode(0, np.zeros(geometry.shape, np.uint16))
    assert list(lengths) == [138, 138, 132, 16]


def test_payloads_of_ignores_what_has_no_header():
    datagrams = np.full((2, 5000), 0xA5, np.uint8)
    lengths = np.array([5000, 5000])
    assert not payloads_of(datagrams, lengths).any()
    datagrams[1, 1:6] = 0xF0, 0xF1, 0xF2, 0xF3, 0xF4
    lengths[1] = 4104
    assert list(payloads_of(datagrams, lengths)) == [0, 4096]


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match="frame 7"):
        Encoder(Layout(PRESETS["window"], 4096)).encode(7, np.zeros((3, 3), np.uint16))
