"""Orders: what the leader of a team tells its ranks, and what they answer; frames lie beside them in shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.many.tiles import Tiles
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.errors import WireError

Array = NDArray[Any]
Number = Literal["bool", "int64", "float32", "float64", "complex64", "complex128"]
MAX_ORDER_BYTES = 1 << 16


class Prepare(msgspec.Struct, tag=True, frozen=True):
    """Load what an engine needs and, when it is for a GPU, take the one of this rank."""

    gpu: bool


class Begin(msgspec.Struct, tag=True, frozen=True):
    """Start an engine on a tile. Arrays: probe (mode, y, x), object of the tile (h, w), two masks if there are some.

    `refined` says what is refined, and which steps follow every update of the object. `capacity` is the number of
    frames that there is room for at first, `threads` how many cores a rank may use; with a `key` ranks meet by NCCL.
    """

    tiles: Tiles
    geometry: Geometry
    kernel: KernelName
    real: Literal["float32", "float64"]
    power: float
    capacity: int
    threads: int
    fractions: int
    refined: SolveParameters
    key: bytes = b""


class Put(msgspec.Struct, tag=True, frozen=True):
    """Take frames. Arrays: index (n,), amplitude (n, y, x), corners (n, 2) in the tile, weights (n,)."""


class Iterate(msgspec.Struct, tag=True, frozen=True):
    """One iteration."""

    rule: Rule
    refine_probe: bool


class Centre(msgspec.Struct, tag=True, frozen=True):
    """Bring the probe to the middle of its window."""


class Misfit(msgspec.Struct, tag=True, frozen=True):
    """Work out the Fourier error, of all frames or of about `limit`."""

    limit: int | None


class Show(msgspec.Struct, tag=True, frozen=True):
    """Put together an image of the whole scan."""

    what: Literal["image", "evidence", "coverage"]


class End(msgspec.Struct, tag=True, frozen=True):
    """Go."""


class Done(msgspec.Struct, tag=True, frozen=True):
    """The order is carried out."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The order could not be carried out, and the rank ends."""

    text: str


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """Type and shape of an array that comes with an order."""

    number: Number
    shape: tuple[int, ...]

    @property
    def like(self) -> Array:
        """An array of this kind that takes no memory."""
        return np.broadcast_to(np.empty((), self.number), self.shape)


Order = Prepare | Begin | Put | Iterate | Centre | Misfit | Show | End
Reply = Done | Failed


class Letter(msgspec.Struct, frozen=True):
    """An order and the kinds of its arrays."""

    order: Order
    kinds: tuple[Kind, ...] = ()

    @staticmethod
    def of(order: Order, arrays: Sequence[Array]) -> Letter:
        """The letter that goes with these arrays."""
        return Letter(order, tuple(msgspec.convert((array.dtype.name, array.shape), Kind) for array in arrays))


def write_letter(letter: Letter) -> bytes:
    """The bytes of a letter."""
    return msgspec.msgpack.encode(letter)


def read_letter(data: bytes | bytearray) -> Letter:
    """The letter in `data`; raises WireError."""
    return _decoded(data, Letter)  # type: ignore[no-any-return]


def read_reply(data: bytes | bytearray) -> Reply:
    """The reply in `data`; raises WireError."""
    return _decoded(data, Reply)  # type: ignore[no-any-return]


def _decoded(data: bytes | bytearray, what: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=what)
    except msgspec.MsgspecError as error:
        raise WireError(f"{len(data)} bytes between ranks are no message of this version of camlink ({error}); "
                        "start all ranks from the same installation") from None
