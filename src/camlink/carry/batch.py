"""Batch: small frames that become one block, bounded by bytes and by the age of the oldest.

What a block costs (a head, a message, a wake-up) is the same for one frame and for hundreds.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from camlink.block import FrameKind, Frames, Header, Scan
from camlink.clock import now_s

DEFAULT_BATCH_BYTES: Final = 1 << 20
DEFAULT_AGE_S: Final = 0.002
F = TypeVar("F", bound=Frames)


class Batch(Generic[F]):
    """Collects frames of one shape; `add` gives a block when the batch is full or old, `take` at any moment.

    A source that may fall silent calls `take` when `due` says so.
    """

    def __init__(self, block: type[F], scan: Scan, dtype: DTypeLike, shape: tuple[int, int], *,
                 max_bytes: int = DEFAULT_BATCH_BYTES, max_age_s: float = DEFAULT_AGE_S) -> None:
        self._block, self._scan = block, scan
        self._dtype, self._shape, self._max_age_s = np.dtype(dtype), shape, max_age_s
        self._room = max(1, max_bytes // max(1, self._dtype.itemsize * shape[0] * shape[1]))
        self._count = 0
        self._made_s = 0.0
        self._renew()

    def _renew(self) -> None:
        room = self._room
        self._frames = np.empty((room, *self._shape), self._dtype)
        self._index, self._point = np.empty(room, np.int64), np.empty(room, np.int64)
        self._kind, self._dwell_s = np.empty(room, np.uint8), np.empty(room)
        self._position_m, self._time_s = np.empty((room, 2)), np.empty(room)

    def add(self, frame: NDArray[Any], index: int, *, point: int | None = None, kind: int = FrameKind.EXPOSURE,
            dwell_s: float = 0.0, position_m: tuple[float, float] = (0.0, 0.0),
            time_s: float | None = None) -> F | None:
        """Copy a frame (y, x) in, with its row of facts; the block when that makes the batch full or old."""
        at_s = now_s()
        n = self._count
        if not n:
            self._made_s = at_s
        self._frames[n] = frame
        self._index[n] = index
        self._point[n] = index if point is None else point
        self._kind[n] = kind
        self._dwell_s[n] = dwell_s
        self._position_m[n] = position_m
        self._time_s[n] = at_s if time_s is None else time_s
        self._count = n + 1
        return self.take() if self._count == self._room or at_s - self._made_s >= self._max_age_s else None

    @property
    def due(self) -> bool:
        """Whether the oldest frame is as old as a frame may get here."""
        return bool(self._count) and now_s() - self._made_s >= self._max_age_s

    def take(self) -> F | None:
        """The block of what is there; None when nothing is."""
        n, self._count = self._count, 0
        if not n:
            return None
        arrays = {"frames": self._frames[:n], "index": self._index[:n], "point": self._point[:n],
                  "kind": self._kind[:n], "dwell_s": self._dwell_s[:n], "position_m": self._position_m[:n],
                  "time_s": self._time_s[:n]}
        self._renew()  # a block never changes once it was sent
        return self._block(Header(scan=self._scan, made_s=self._made_s), arrays)
