"""The pixels of an assembled FastCCD image, and the chain of the published readers from raw samples to that image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.geometry import Geometry, adc_order, data_columns


def data_image(image: NDArray[np.uint16], geometry: Geometry) -> NDArray[np.uint16]:
    """The assembled image (2 rows, 96 chips) without its overscan columns, (2 rows, 80 chips)."""
    rows = geometry.rows
    return np.concatenate([image[:rows, data_columns(geometry, "top")],
                           image[rows:, data_columns(geometry, "bottom")]])


def assembled(raw: NDArray[np.uint16], geometry: Geometry) -> NDArray[np.uint16]:
    """Raw samples in clock order, then in row order, as two halves, the lower one turned."""
    rows, adcs = geometry.rows, geometry.adcs
    clock = raw.reshape(12 * rows, adcs)[:, adc_order(geometry.chips)]
    wide = clock.reshape((12, rows, adcs), order="F").transpose(1, 2, 0).reshape(rows, 12 * adcs)
    bottom, top = np.hsplit(wide, 2)
    return np.concatenate([top, bottom[::-1, ::-1]])
