import struct
import zlib

import numpy as np
import pytest

from camlink.display.colour import COLOUR_MAPS, NO_VALUE, coloured, table
from camlink.display.image import Lens, picture
from camlink.display.png import png
from camlink.errors import UnknownName


def chunks(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4:at + 8], data[at + 8:at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(name + body)
        found[name] = body
        at += 12 + size
    return found


def test_a_palette_file_holds_the_bytes_of_the_picture():
    image = picture(np.arange(35.0).reshape(5, 7), Lens())
    found = chunks(png(image, "magma"))
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (7, 5, 8, 3, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(5, 8)
    assert (lines[:, 0] == 0).all()
    assert (lines[:, 1:] == image.pixels).all()
    assert found[b"PLTE"] == table("magma").tobytes()


def test_a_complex_file_is_rgb():
    image = picture(np.full((4, 6), 1j), Lens(part="complex"))
    found = chunks(png(image))
    assert struct.unpack(">IIBBBBB", found[b"IHDR"])[2:4] == (8, 2)
    assert len(zlib.decompress(found[b"IDAT"])) == 4 * (1 + 18)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_a_table_has_its_anchors_at_both_ends(name):
    ends = [tuple(bytes.fromhex(COLOUR_MAPS[name][k])) for k in (0, -1)]
    assert [tuple(table(name)[k].tolist()) for k in (1, 255)] == ends
    assert tuple(table(name)[0].tolist()) == NO_VALUE


def test_cyclic_maps_close():
    for name in ("twilight", "hue"):
        assert COLOUR_MAPS[name][0] == COLOUR_MAPS[name][-1]


def test_no_amplitude_is_black_and_no_value_is_not():
    rgb = coloured(np.array([[[1, 0]], [[128, 128]]], np.uint8), "gray")
    assert rgb.tolist() == [[[0, 0, 0], list(NO_VALUE)]]


def test_an_unknown_map_names_the_nearest():
    with pytest.raises(UnknownName, match="viridis"):
        table("viridi")
