"""Member: one rank of a team: the engine of its tile, which does what the leader orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.many.chunks import slots_for
from camlink.compute.ptychography.many.halo import Courier, Halo
from camlink.compute.ptychography.many.orders import Begin, Centre, End, Iterate, Misfit, Order, Prepare, Put, Show
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.refine.wanted import object_steps, refinements

Array = NDArray[Any]
GROWTH = 1.5


class Member:
    """Every rank holds one and gives it the same orders at the same time; most of them end in an exchange."""

    def __init__(self, order: Begin, arrays: Sequence[Array], courier: Courier) -> None:
        probe, image, *masks = arrays
        whole = order.geometry
        frame, real = whole.frame, np.dtype(order.real)
        kernel = choose(order.kernel, frame, len(probe), real)
        self._courier = courier
        self.exchange = Halo(order.tiles, courier)
        self._slots = slots_for(order.capacity, len(probe), frame, real, kernel.space)
        box = order.tiles.box(courier.rank)
        first_m = whole.position_m(box[0].start, box[1].start)
        tile = Geometry(frame, (image.shape[0], image.shape[1]), whole.pixel_m, first_m, 0)
        self.engine = Engine(tile, self._slots, kernel, probe=probe, image=image, exchange=self.exchange,
                             fractions=order.fractions, refinements=refinements(order.refined),
                             object_steps=object_steps(order.refined),
                             constraints=Constraints.of(masks, order.power))

    def obey(self, order: Order, arrays: Sequence[Array]) -> Any:
        """Carry out an order: an image of the whole scan (H, W), a Fourier error, or nothing is given back."""
        engine = self.engine
        if not isinstance(order, Iterate):
            self._settle()
        match order:
            case Put():
                self._put(*arrays)
            case Iterate(rule, refine_probe):
                engine.iterate(rule, refine_probe=refine_probe)
            case Centre():
                engine.centre()
            case Misfit(limit):
                return engine.fourier_error(limit)
            case Show(what):
                return self._shown(what)
            case Prepare() | Begin() | End():
                raise ValueError(f"{order} is not for a member")
        return None

    def close(self) -> None:
        """Let go of the other ranks, whether they are there or not."""
        self.engine.forget()
        self._courier.close()

    def _put(self, index: Array, amplitude: Array, corners: Array, weights: Array) -> None:
        needed = self._slots.count + len(index)
        if needed > self._slots.capacity:
            self._slots.grow(max(needed, int(GROWTH * self._slots.capacity)))
        self.engine.put(index, amplitude, corners, weights)

    def _settle(self) -> None:
        """Wait until the GPU has done what it was told, so that no other wait depends on the other ranks."""
        space = self.engine.kernel.space
        if space is not np:
            self.exchange.wait(space.cuda.get_current_stream().record())

    def _shown(self, what: str) -> Array:
        engine = self.engine
        part = engine.image if what == "image" else engine.coverage if what == "coverage" else engine.evidence()
        return self.exchange.whole(part)


def limit_threads(threads: int) -> int:
    """Let compiled kernels of this process use so many cores; gives the number before."""
    import numba

    before = int(numba.get_num_threads())
    numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    return before
