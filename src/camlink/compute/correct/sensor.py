"""Sensor: what the first frames of a scan teach about its detector - the dark, the bad pixels and the centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camlink.block import RawFrames
from camlink.compute.correct.centre import Centre
from camlink.compute.correct.correction import Correction
from camlink.compute.correct.dark import Darks

Rows = NDArray[np.int64]

CHUNK = 8
"""Frames that are corrected at full size together; bounds the memory of a large block."""


def chunks(rows: Rows) -> list[Rows]:
    """Rows in parts of at most CHUNK."""
    return [rows[at:at + CHUNK] for at in range(0, len(rows), CHUNK)]


class Sensor:
    """Takes dark frames until it is frozen, finds the centre, and gives the photons about it.

    `centre` (y, x) [pixel without overscan] is None until it is known; `blind` tells that there was no light to find it
    by, so that the middle was taken. `late_darks` and `bare` count dark frames that came too late and exposures
    that were corrected without any.
    """

    def __init__(self, correction: Correction, bad_sigma: float, centre_frames: int,
                 centre: tuple[float, float] | None) -> None:
        shape = correction.layout.shape
        self.correction = correction
        self.darks = Darks(shape, bad_sigma)
        self.centre = centre
        self.blind = False
        self.late_darks = self.bare = 0
        self._centring = Centre(shape, centre_frames)

    def take_darks(self, frames: RawFrames, rows: Rows) -> None:
        """Take the dark frames among `frames` that are named by `rows`, each to its dwell."""
        for dwell_s in np.unique(frames.dwell_s[rows]):
            for chunk in chunks(rows[frames.dwell_s[rows] == dwell_s]):
                if self.darks.frozen:
                    self.late_darks += len(chunk)
                else:
                    self.darks.add(self.correction.levels(frames.frames[chunk]), float(dwell_s),
                                   frames.index[chunk].tolist())

    def look(self, frames: RawFrames, rows: Rows) -> None:
        """Look for the centre in the exposures named by `rows`, saturated ones included."""
        for row in rows:
            if self.centre is not None:
                return
            level = self.darks.field(float(frames.dwell_s[row])).level
            self._centring.add(self.correction.levels(frames.frames[row:row + 1]) - level)
            if self._centring.settled:
                self.settle()

    def settle(self) -> tuple[float, float]:
        """The centre, from what was seen if it was not known; from now on it stays."""
        if self.centre is None:
            found = self._centring.estimate()
            self.blind = found is None
            rows, columns = self.correction.layout.shape
            self.centre = found or (rows / 2, columns / 2)
        return self.centre

    def photons(self, frames: RawFrames, row: int, first: tuple[int, int], size: int) -> NDArray[np.float32]:
        """Photons (size, size) float32 of one exposure in the window whose first pixel is `first` (y, x)."""
        field = self.darks.field(float(frames.dwell_s[row]))
        self.bare += field.frames == 0
        image: NDArray[np.float32] = self.correction.photons(frames.frames[row:row + 1], field, first, size)[0]
        return image
