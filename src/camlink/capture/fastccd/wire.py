"""The wire: one codec for FastCCD datagrams in both directions, in both header styles that are in the field.

A datagram is an 8-byte header and a payload of big-endian uint16 samples. Byte 0 is the packet number modulo 256,
bytes 6-7 the frame number modulo 65536 (big-endian). Bytes 1-5 are F0 F1 F2 F3 F4 (camera, libcin cin.h) or
0, port (u16), length (u16) (simulator, cosmiccam). The last packet of a frame ends in an 8-byte tail mark.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.geometry import Geometry, row_table
from camlink.errors import ParameterError

Style = Literal["camera", "simulator"]

HEADER_BYTES: Final = 8
TAIL_BYTES: Final = 8
BLURB_BYTES: Final = 48
BLURBS: Final = 2
MAX_DATAGRAM_BYTES: Final = 9216
MIN_PAYLOAD_BYTES: Final = 64
FRAME_NUMBERS: Final = 65536
PACKET_NUMBERS: Final = 256
MARKER: Final = 0x2000
CAMERA_MAGIC: Final = (0xF0, 0xF1, 0xF2, 0xF3, 0xF4)
CAMERA_TAIL: Final = bytes.fromhex("F0F1F2DEADF00D01")
SIMULATOR_TAIL: Final = bytes.fromhex("F1F2DEADF00D0000")


class Layout(msgspec.Struct, frozen=True):
    """How a frame of `geometry` is cut into datagrams of at most `payload_bytes`.

    Raises ParameterError when the payload is odd or out of bounds.
    """

    geometry: Geometry
    payload_bytes: int

    def __post_init__(self) -> None:
        most = MAX_DATAGRAM_BYTES - HEADER_BYTES
        if self.payload_bytes % 2 or not MIN_PAYLOAD_BYTES <= self.payload_bytes <= most:
            raise ParameterError(f"payload_bytes={self.payload_bytes} is not an even number in "
                                 f"{MIN_PAYLOAD_BYTES}..{most}; the camera uses 4096 or 8184")

    @property
    def packets(self) -> int:
        """Packets that carry samples."""
        return -(-self.geometry.bytes // self.payload_bytes)

    @property
    def last_bytes(self) -> int:
        """Bytes of samples in the last of them."""
        return self.geometry.bytes - (self.packets - 1) * self.payload_bytes

    @property
    def tail_packet(self) -> bool:
        """Whether the tail mark needs a short packet of its own, since the last packet has no room for it."""
        return self.last_bytes + TAIL_BYTES > self.payload_bytes

    @property
    def datagrams(self) -> int:
        """Datagrams of one frame: the packets with samples and the packet of the tail mark, if there is one."""
        return self.packets + self.tail_packet


class Encoder:
    """Writes frames as datagrams into one array that is used again at every frame."""

    def __init__(self, layout: Layout, *, style: Style = "camera", port: int = 0) -> None:
        self.layout = layout
        self._tail = np.frombuffer(CAMERA_TAIL if style == "camera" else SIMULATOR_TAIL, np.uint8)
        size, count = layout.payload_bytes, layout.datagrams
        self.datagrams: NDArray[np.uint8] = np.zeros((count, HEADER_BYTES + size), np.uint8)
        self.lengths: NDArray[np.int64] = np.full(count, HEADER_BYTES + size, np.int64)
        self.lengths[layout.packets - 1] = HEADER_BYTES + layout.last_bytes
        if layout.tail_packet:
            self.lengths[-1] = HEADER_BYTES
        self.lengths[-1] += TAIL_BYTES
        self.blurb: NDArray[np.uint8] = np.zeros(BLURB_BYTES, np.uint8)
        self.blurb[-TAIL_BYTES:] = self._tail
        self._raw = np.zeros(layout.packets * size // 2, np.uint16)
        self._write_heads(style, port)

    def _write_heads(self, style: Style, port: int) -> None:
        heads = self.datagrams[:, :HEADER_BYTES]
        heads[:, 0] = np.arange(len(heads)) % PACKET_NUMBERS
        if style == "camera":
            heads[:, 1:6] = CAMERA_MAGIC
            return
        heads[:, 2:4] = self.blurb[2:4] = np.frombuffer(port.to_bytes(2, "big"), np.uint8)
        heads[:, 4:6] = self.lengths.astype(">u2")[:, None].view(np.uint8)
        self.blurb[4:6] = np.frombuffer(BLURB_BYTES.to_bytes(2, "big"), np.uint8)

    def encode(self, number: int, image: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Datagrams (n, 8 + payload) uint8 and their lengths (n,) for an image (2 rows, 96 chips) uint16 [ADU].

        Both arrays are overwritten by the next call. Raises ParameterError when the image does not fit.
        """
        from camlink.capture.fastccd.kernels import scatter_samples

        layout = self.layout
        if image.shape != layout.geometry.shape:
            raise ParameterError(f"frame {number}: an image of {image.shape} does not fit the detector geometry "
                                 f"{layout.geometry.shape}")
        samples = self._raw[:layout.geometry.samples]
        scatter_samples(np.ascontiguousarray(image, np.uint16), row_table(layout.geometry), samples)
        stamp = np.frombuffer((number % FRAME_NUMBERS).to_bytes(2, "big"), np.uint8)
        self.datagrams[:, 6:8] = self.blurb[6:8] = stamp
        self.datagrams[:layout.packets, HEADER_BYTES:] = self._raw.view(np.uint8).reshape(layout.packets, -1)
        end = int(self.lengths[-1])
        self.datagrams[-1, end - TAIL_BYTES:end] = self._tail
        return self.datagrams, self.lengths


def payloads_of(datagrams: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Payload size of each datagram with a header of either style (n,) [bytes]; 0 where there is none.

    `datagrams` (n, stride) uint8, `lengths` (n,): every packet but the last of a frame has the full size.
    """
    usable = (lengths >= HEADER_BYTES + MIN_PAYLOAD_BYTES) & (lengths <= MAX_DATAGRAM_BYTES)
    camera = (datagrams[:, 1:6] == np.array(CAMERA_MAGIC, np.uint8)).all(axis=1)
    stated = datagrams[:, 4].astype(np.int64) * 256 + datagrams[:, 5]
    known = usable & (camera | ((datagrams[:, 1] == 0) & (stated >= lengths)))
    return np.where(known, (lengths - HEADER_BYTES) // 2 * 2, 0)
