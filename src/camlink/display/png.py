"""PNG: pictures as files that every program opens, written with zlib alone (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from camlink.display.colour import coloured, table
from camlink.display.image import Picture

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
COMPRESSION: Final = 4


def png(image: Picture, colour_map: str = "viridis") -> bytes:
    """A PNG file of the picture: palette of 256 colours for one plane, RGB for amplitude and phase.

    Pixels without value are transparent in a palette picture. Raises UnknownName for an unknown colour map.
    """
    size = struct.pack(">II", image.width, image.height)
    if image.pixels.ndim == 2:
        colours = _chunk(b"PLTE", table(colour_map).tobytes()) + _chunk(b"tRNS", b"\x00")
        return _file(size + bytes((8, 3, 0, 0, 0)), colours, image.pixels)
    return _file(size + bytes((8, 2, 0, 0, 0)), b"", coloured(image.pixels, colour_map))


def _file(head: bytes, colours: bytes, pixels: NDArray[np.uint8]) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    lines = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)  # every line starts with its filter: 0, none
    lines[:, 1:] = rows
    data = zlib.compress(lines.tobytes(), COMPRESSION)
    return SIGNATURE + _chunk(b"IHDR", head) + colours + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
