"""Tray: the frames of one block in the making; frames are assembled right into it, so nothing is copied twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from camlink.block import COLUMNS, Header, Plan, RawFrames
from camlink.capture.fastccd.assemble import Frame

Room = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]


class Tray:
    """Collects frames of `plan` and gives them as RawFrames, bounded by `frames` and by `nbytes`.

    `room` gives the memory of each block: that of the link that takes it, so that it is not copied there either.
    """

    def __init__(self, plan: Plan, *, frames: int, nbytes: int, room: Room = np.empty) -> None:
        self._plan, self._room = plan, room
        height, width = plan.scan.shape
        self.capacity = max(1, min(frames, nbytes // (2 * height * width)))
        self._rows: list[int] = []
        self._times_s: list[float] = []
        self._damaged = 0
        self._images: NDArray[np.uint16] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        """Whether no further frame fits."""
        return len(self._rows) >= self.capacity

    @property
    def oldest_s(self) -> float:
        """When the oldest frame in it was captured [s]; infinity while it is empty."""
        return min(self._times_s, default=float("inf"))

    def place(self) -> NDArray[np.uint16]:
        """The array (y, x) u16 for the next frame; the same one again until a frame is put in."""
        if self._images is None:
            self._images = self._room((self.capacity, *self._plan.scan.shape), np.uint16)
        image: NDArray[np.uint16] = self._images[len(self._rows)]
        return image

    def put(self, frame: Frame, row: int) -> None:
        """Keep `frame`, which lies at `place()` already, as the frame of `row` of the plan."""
        self._rows.append(row)
        self._times_s.append(frame.time_s)
        self._damaged += frame.damaged

    def take(self) -> RawFrames:
        """The block of all frames in it; the tray is empty afterwards and never touches that block again."""
        if self._images is None or not self._rows:
            raise ValueError("an empty tray gives no block")
        rows = np.array(self._rows)
        arrays = {name: self._plan.arrays[name][rows] for name in COLUMNS}
        arrays["time_s"] = np.array(self._times_s)
        arrays["frames"] = self._images[:len(rows)]
        header = Header(scan=self._plan.scan, made_s=self.oldest_s, facts={"frames_damaged": self._damaged})
        self._rows, self._times_s, self._damaged, self._images = [], [], 0, None
        return RawFrames(header, arrays)
