"""Team: the engine of a scan that several ranks share; this process leads, and is rank 0."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from camlink.compute.arrays import gpu_count
from camlink.compute.ptychography.algorithm import Blend, Rule
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.kernels.kernel import Kernel
from camlink.compute.ptychography.many.halo import Courier
from camlink.compute.ptychography.many.member import Member, limit_threads
from camlink.compute.ptychography.many.nccl import new_key, take_gpu
from camlink.compute.ptychography.many.orders import Begin, Centre, Iterate, Misfit, Order, Prepare, Put, Show
from camlink.compute.ptychography.many.tiles import Tiles
from camlink.compute.ptychography.model import MASKED
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Slots
from camlink.errors import PeerLost

Array = NDArray[Any]
SLACK = 8
"""Pixels that a frame may move away from where it was told to be."""
BATCH_BYTES = 1 << 26


class Seats(Protocol):
    """Where the other ranks are."""

    @property
    def ranks(self) -> int:
        """How many there are, the leader counted."""
        ...

    @property
    def beside(self) -> int:
        """How many share the cores of this host."""
        ...

    def courier(self, begin: Begin) -> Courier:
        """The courier of the leader."""
        ...

    def send(self, order: Order, arrays: Sequence[Sequence[Array]]) -> None:
        """Give an order to all other ranks, with the arrays of each."""
        ...

    def replies(self) -> None:
        """Wait until all have carried out the last order; raises PeerLost."""
        ...

    def lost(self, what: str) -> PeerLost:
        """Give up: end what can be ended, and say why."""
        ...

    def close(self) -> None:
        """Let the other ranks go."""
        ...


class Team:
    """Does for a scan what an Engine does, with the frames and the object spread over the ranks by position.

    `corners` (n, 2) [pixel] are those of all frames; without them the object is split into equal areas, and a frame
    goes where it lies. A frame whose position is corrected may change its rank. Of `refined` the refinements and object
    steps are looked at. Raises PeerLost when a rank is gone; then all are ended.
    """

    def __init__(self, seats: Seats, geometry: Geometry, expected: int, *, kernel: KernelName, real: np.dtype[Any],
                 probe: Array, image: Array, constraints: Constraints, fractions: int = 1,
                 refined: SolveParameters | None = None, corners: Array | None = None) -> None:
        self.geometry, self.constraints, self.iteration = geometry, constraints, 0
        ranks, shape, frame = seats.ranks, geometry.shape, geometry.frame
        self._seats = seats
        self._free = weakref.finalize(self, _let_go, seats)
        slack = max(SLACK, geometry.margin)
        self._tiles = (Tiles.even(ranks, shape, frame, slack) if corners is None
                       else Tiles.of(np.rint(corners), ranks, shape, frame, slack))
        self._boxes = [self._tiles.box(rank) for rank in range(ranks)]
        self._expected = expected
        self._place: dict[int, int] = {}
        self._owner = np.zeros(expected, np.int64)
        self._corners = np.zeros((expected, 2))
        self._born = np.zeros(expected, np.int64)
        self._waiting = False
        gpu = kernel in ("auto", "cuda") and gpu_count() > 0
        self._tell(Prepare(gpu), [[]] * ranks)
        seats.replies()
        self._waiting = False
        share = -(-expected // ranks)
        begin = Begin(self._tiles, geometry, kernel, "float64" if real == np.float64 else "float32", constraints.power,
                      min(expected, share + share // 4), max(1, limit_threads(1 << 16) // seats.beside), fractions,
                      refined or SolveParameters(), new_key() if gpu else b"")
        masks = constraints.masks(frame)
        arrays = [[probe, np.ascontiguousarray(image[box]), *masks] for box in self._boxes]
        self._tell(begin, arrays)
        limit_threads(begin.threads)
        try:
            if gpu:
                take_gpu(0)
            self._member = Member(begin, arrays[0], seats.courier(begin))
        except PeerLost as error:
            raise seats.lost(str(error)) from None
        self._free.detach()
        self._free = weakref.finalize(self, _let_go, seats, self._member)

    @property
    def active(self) -> int:
        """Frames that take part."""
        return len(self._place)

    @property
    def ages(self) -> Array:
        """Iterations that every active frame has seen (n,)."""
        return np.asarray(self.iteration - self._born[:self.active])

    @property
    def kernel(self) -> Kernel:
        """The kernel of the leader; the others have the same."""
        return self._member.engine.kernel

    @property
    def slots(self) -> Slots:
        """Those of the leader."""
        return self._member.engine.slots

    @property
    def probe(self) -> Array:
        """The probe (mode, y, x)."""
        return self._member.engine.probe

    @property
    def image(self) -> Array:
        """The object (H, W)."""
        return self._ask(Show("image"))  # type: ignore[no-any-return]

    @property
    def coverage(self) -> Array:
        """Illumination of every object pixel (H, W) [photon]."""
        return self._ask(Show("coverage"))  # type: ignore[no-any-return]

    def evidence(self) -> Array:
        """The object (H, W) that the data project the model to; see Engine.evidence."""
        return self._ask(Show("evidence"))  # type: ignore[no-any-return]

    def fourier_error(self, limit: int | None = None) -> float:
        """See Engine.fourier_error."""
        return float(self._ask(Misfit(None if limit is None else max(1, limit // self._seats.ranks))))

    def centre(self) -> None:
        """Bring the probe back to the middle of its window; object and waves move along."""
        self._ask(Centre())

    def iterate(self, rule: Rule | Blend, *, refine_probe: bool = False) -> None:
        """One iteration of every active frame, then the object and, if asked, the probe."""
        if not self.active:
            return
        self._ask(Iterate(rule if isinstance(rule, Rule) else Rule(rule), refine_probe))
        self.iteration += 1

    def put(self, index: Array, amplitude: Array, corners: Array, weights: Array) -> int:
        """Take frames, as Engine.put does, and give how many found no room."""
        batch = max(1, BATCH_BYTES // max(1, amplitude[:1].nbytes))
        return sum(self._put(*(part[start:start + batch] for part in (index, amplitude, corners, weights)))
                   for start in range(0, max(1, len(index)), batch))

    def _put(self, index: Array, amplitude: Array, corners: Array, weights: Array) -> int:
        known = np.array([int(i) in self._place for i in index], bool)
        room = self._expected - self.active
        taken = np.flatnonzero(known | (np.cumsum(~known) <= room))
        owner = self._tiles.rank_of(np.rint(corners))
        parcels: list[list[int]] = [[] for _ in self._boxes]
        for row in taken:
            parcels[owner[row]].append(int(row))
        leaving = self._leaving(index, owner, taken)
        arrays = []
        for rank, (rows, box) in enumerate(zip(parcels, self._boxes, strict=True)):
            arrays.append([index[rows].astype(np.int64), amplitude[rows], corners[rows] - _origin(box), weights[rows]])
            if rank in leaving:
                gone = self._farewell(leaving[rank], amplitude, weights.dtype, box)
                arrays[-1] = [np.concatenate(parts) for parts in zip(arrays[-1], gone, strict=True)]
        for row in taken:
            place = self._place.setdefault(int(index[row]), self.active)
            self._owner[place], self._corners[place], self._born[place] = owner[row], corners[row], self.iteration
        self._ask(Put(), arrays)
        return len(index) - len(taken)

    def close(self) -> None:
        """Let the other ranks go; the leader may use all cores again."""
        self._free()
        limit_threads(1 << 16)

    def _leaving(self, index: Array, owner: Array, taken: Array) -> dict[int, list[int]]:
        """Frames by the rank that they are taken from, since their position now lies in another tile."""
        found: dict[int, list[int]] = {}
        for row in taken:
            place = self._place.get(int(index[row]))
            if place is not None and self._owner[place] != owner[row]:
                found.setdefault(int(self._owner[place]), []).append(int(index[row]))
        return found

    def _farewell(self, frames: list[int], amplitude: Array, weight: np.dtype[Any], box: Any) -> tuple[Array, ...]:
        """What makes a rank forget frames: weight 0, and no pixel with a value."""
        places = [self._place[frame] for frame in frames]
        return (np.array(frames, np.int64), np.full((len(frames), *amplitude.shape[1:]), MASKED, amplitude.dtype),
                self._corners[places] - _origin(box), np.zeros(len(frames), weight))

    def _ask(self, order: Order, arrays: Sequence[Sequence[Array]] | None = None) -> Any:
        """Give an order to all ranks and carry it out here; whether all are done is seen before the next one."""
        given = arrays or [[]] * self._seats.ranks
        try:
            self._tell(order, given)
        except PeerLost:
            self._free()
            raise
        try:
            return self._member.obey(order, given[0])
        except PeerLost as error:
            lost = self._seats.lost(str(error))
            self._free()
            raise lost from None

    def _tell(self, order: Order, arrays: Sequence[Sequence[Array]]) -> None:
        if self._waiting:
            self._seats.replies()
        self._seats.send(order, arrays)
        self._waiting = True


def _origin(box: Any) -> Array:
    return np.array([box[0].start, box[1].start])


def _let_go(seats: Seats, member: Member | None = None) -> None:
    """End what a team has started; the leader first, whose GPU may be waiting for the others."""
    if member is not None:
        member.close()
    seats.close()
