"""The rooms of a CXI file that camlink writes: one place for writer, reader and recovery.

Beside the published layout (CXI 1.6) a group `camlink_1` holds what makes a reader safe at any moment: the scan as
JSON, the writer's process, and the result in two slots that take turns with a table of versions. A frame counts
once its row of `detector_1/index` is there, a version once its row of `versions` is there; both come last.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

CXI_VERSION: Final = 160
ENTRY: Final = "entry_1"
SOURCE: Final = f"{ENTRY}/instrument_1/source_1"
DETECTOR: Final = f"{ENTRY}/instrument_1/detector_1"
GEOMETRY: Final = f"{ENTRY}/sample_1/geometry_1"
DATA: Final = f"{ENTRY}/data_1"
IMAGE: Final = f"{ENTRY}/image_1"
PROCESS: Final = f"{IMAGE}/process_1"
OWN: Final = f"{ENTRY}/camlink_1"
VERSIONS: Final = f"{OWN}/versions"
SLOTS: Final = (f"{OWN}/slot_a", f"{OWN}/slot_b")

COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "point": ("i8", f"{DETECTOR}/point"),
    "kind": ("u1", f"{DETECTOR}/kind"),
    "dwell_s": ("f8", f"{DETECTOR}/exposure_time"),
    "time_s": ("f8", f"{DETECTOR}/time"),
}
"""Columns of a block, with their type and dataset; `index` is written last and positions have their own room."""

MASK_INVALID: Final = 0x1
MASK_NO_DEFECT: Final = 0x1000 | 0x10000
"""Mask bits that mark no defect: 'has signal' and 'inside the support'; every other bit makes a pixel bad."""

VERSION_ROW: Final[np.dtype[Any]] = np.dtype([
    ("version", "<i8"), ("slot", "<u1"), ("final", "<u1"), ("object_shape", "<i8", (2,)), ("probe_shape", "<i8", (3,)),
    ("iteration", "<i8"), ("fourier_error", "<f8"), ("object_pixel_m", "<f8", (2,)), ("origin_m", "<f8", (2,)),
    ("time_s", "<f8"),
])
"""One row a version of the result; unknown numbers are -1 or NaN. Each pair is (y, x)."""
