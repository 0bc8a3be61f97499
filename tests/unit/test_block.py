from __future__ import annotations

import numpy as np
import pytest

from camlink.block import CountFrames, Header, Scan
from camlink.errors import FormatError

SCAN = Scan(id="s", expected=3, shape=(4, 4), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800.0,
            span_m=(0, 0, 1e-6, 1e-6))


def columns(n: int) -> dict[str, np.ndarray]:
    return {"index": np.arange(n), "point": np.arange(n), "kind": np.ones(n, np.uint8), "dwell_s": np.ones(n),
            "position_m": np.zeros((n, 2)), "time_s": np.zeros(n)}


def test_wavelength_and_object_pixel_follow_the_textbook() -> None:
    assert SCAN.wavelength_m == pytest.approx(1.5498e-9, rel=1e-4)  # 1239.84 eV nm / 800 eV
    assert SCAN.object_pixel_m[0] == pytest.approx(1.5498e-9 * 0.08 / (4 * 3e-5), rel=1e-4)


def test_rows_must_match() -> None:
    header = Header(scan=SCAN, made_s=0.0)
    frames = np.zeros((3, 4, 4), np.float32)
    assert CountFrames.checked(header, {"frames": frames, **columns(3)}).count == 3
    with pytest.raises(FormatError, match="column 'index' has shape"):
        CountFrames.checked(header, {"frames": frames, **columns(2)})
    with pytest.raises(FormatError, match="lacks the arrays index"):
        CountFrames.checked(header, {"frames": frames})
    with pytest.raises(FormatError, match="axes"):
        CountFrames.checked(header, {"frames": frames[0], **columns(4)})
