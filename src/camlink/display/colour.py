"""Colour: the colour maps of page and picture files, as anchors that are joined by straight lines in RGB."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from camlink.errors import UnknownName

# viridis, magma and inferno (S. van der Walt, N. Smith), cividis (J. Nunez et al.), twilight (B. Chamberlin): CC0
COLOUR_MAPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "viridis": ("440154", "482475", "414487", "355f8d", "2a788e", "21918c", "22a884", "44bf70", "7ad151", "bddf26",
                "fde725"),
    "magma": ("000004", "140e36", "3b0f70", "641a80", "8c2981", "b73779", "de4968", "f7705c", "fe9f6d", "fecf92",
              "fcfdbf"),
    "inferno": ("000004", "160b39", "420a68", "6a176e", "932667", "bc3754", "dd513a", "f37819", "fca50a", "f6d746",
                "fcffa4"),
    "cividis": ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838"),
    "gray": ("000000", "ffffff"),
    "twilight": ("e2d9e2", "b4c9d0", "82a7c3", "667dbb", "5e4fa6", "51257f", "2f1436", "5a1a4d", "8e2c50", "b1584f",
                 "c3896a", "d1bba9", "e2d9e2"),
    "hue": ("ff5a4d", "e0a018", "9cc41e", "3fcf5f", "22c9b0", "2fa8f0", "6f7cff", "b763f5", "f04fb4", "ff5a4d"),
})
NO_VALUE: Final = (22, 27, 34)


def table(name: str) -> NDArray[np.uint8]:
    """The 256 colours (256, 3) of a map; entry 0 is the colour of "no value".

    Raises UnknownName.
    """
    if name not in COLOUR_MAPS:
        raise UnknownName("colour map", name, COLOUR_MAPS)
    anchors = np.array([[int(text[i:i + 2], 16) for i in (0, 2, 4)] for text in COLOUR_MAPS[name]], float)
    place = np.linspace(0, len(anchors) - 1, 255)
    columns = [np.interp(place, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    found: NDArray[np.uint8] = np.empty((256, 3), np.uint8)
    found[0] = NO_VALUE
    found[1:] = np.rint(np.stack(columns, axis=1))
    return found


def coloured(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """RGB uint8 (y, x, 3) of a picture: one plane (y, x) through the map, two (2, y, x) as brightness and hue."""
    if pixels.ndim == 2:
        colours: NDArray[np.uint8] = table(name)[pixels]
        return colours
    amplitude, phase = pixels
    bright = np.maximum(amplitude.astype(np.float32) - 1, 0)[..., None] / 254
    rgb: NDArray[np.uint8] = np.rint(table("hue")[phase] * bright).astype(np.uint8)
    rgb[amplitude == 0] = NO_VALUE
    return rgb
