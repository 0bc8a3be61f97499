"""Block, the one thing that travels: a small typed header and arrays that nobody changes after sending.

Block
├── Plan          the frames that a scan is going to take, by frame index
├── Void          what a replica made nothing of, so that nobody waits for it
├── Frames        n consecutive frames with one row of facts for each
│   ├── RawFrames      16-bit samples as the detector sends them [ADU]; bit 0x2000 marks a sample without value
│   └── CountFrames    photon counts (float32) [photon]; NaN marks a pixel without value
└── Result        one version of a result: named arrays and scalar facts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Final, NewType, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.errors import FormatError

ScanId = NewType("ScanId", str)

PLANCK_TIMES_C_J_M: Final = 1.986445857e-25
ELECTRONVOLT_J: Final = 1.602176634e-19
MOST_CHAINS: Final = 1 << 34
MOST_TURNS: Final = 1 << 62
MOST_PARTS: Final = 1 << 16

Array = NDArray[Any]
Fact = int | float | str | bool


class FrameKind(IntEnum):
    """What the beam did while a frame was taken."""

    DARK = 0
    EXPOSURE = 1


class Optics(msgspec.Struct, frozen=True, kw_only=True):
    """A zone plate: diameters, outer zone width and defocus (focus to sample) [m]."""

    diameter_m: float
    outer_zone_m: float
    stop_m: float = 0.0
    defocus_m: float = 0.0


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a scan before its first frame; travels in every header, so that every block explains itself.

    `expected` counts the frames that the sending port is going to deliver, `shape` is one frame (y, x) there and
    `pixel_m` its pixel (y, x). `span_m` is the box of all exposure positions (y0, x0, y1, x1).
    """

    id: str
    expected: int
    shape: tuple[int, int]
    pixel_m: tuple[float, float]
    distance_m: float
    energy_eV: float
    span_m: tuple[float, float, float, float]
    points: int = 0
    started_s: float = 0.0
    title: str = ""
    optics: Optics | None = None

    @property
    def wavelength_m(self) -> float:
        """Photon wavelength [m], CODATA 2018."""
        return PLANCK_TIMES_C_J_M / (self.energy_eV * ELECTRONVOLT_J)

    @property
    def object_pixel_m(self) -> tuple[float, float]:
        """Pixel of a far-field reconstruction (y, x) [m]: wavelength x distance / (frame size x detector pixel)."""
        reach = self.wavelength_m * self.distance_m
        return reach / (self.shape[0] * self.pixel_m[0]), reach / (self.shape[1] * self.pixel_m[1])


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """Where a block stood before replicas shared the stream: the `number` that its link from `origin` gave it.

    Each attempt of the origin numbers from 0, in a `chain` of its own. What was made of the block is `parts` blocks, of
    which this is number `part`; a `number` below 0 says that the place is not known any more.
    """

    origin: str
    chain: Annotated[int, msgspec.Meta(ge=0, lt=MOST_CHAINS)]
    number: Annotated[int, msgspec.Meta(ge=-1, lt=MOST_TURNS)]
    part: Annotated[int, msgspec.Meta(ge=0, lt=MOST_PARTS)] = 0
    parts: Annotated[int, msgspec.Meta(ge=1, le=MOST_PARTS)] = 1


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The typed head of a block: its scan, when its oldest content was captured, and scalar facts.

    `source` (operator, or operator.port), `sequence` (rising from 0 at that port) and `turn` (behind replicas, where
    somebody asks for order) are stamped by the runtime. `again` counts how often a link had sent the block before to a
    receiver that was lost: above 0 it may be known.
    """

    scan: Scan
    made_s: float
    source: str = ""
    sequence: int = 0
    again: int = 0
    facts: dict[str, Fact] = {}
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A header and named arrays; a block is immutable once it was sent."""

    header: Header
    arrays: Mapping[str, Array]

    names: ClassVar[dict[str, type[Block]]] = {}
    required: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = ""

    @classmethod
    def __init_subclass__(cls) -> None:
        Block.names[cls.__name__] = cls

    @property
    def scan(self) -> Scan:
        """The scan that this block belongs to."""
        return self.header.scan

    @property
    def count(self) -> int:
        """Frames in the block; 1 for a result or a plan."""
        return 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in self.arrays.values())

    @classmethod
    def checked(cls, header: Header, arrays: Mapping[str, Array]) -> Self:
        """Build from untrusted parts.

        Raises FormatError when a required array is missing or the rows do not match.
        """
        missing = [name for name in cls.required if name not in arrays]
        if missing:
            raise FormatError(f"{cls.__name__} of scan '{header.scan.id}' lacks the arrays {', '.join(missing)}")
        block = cls(header, arrays)
        block.check_rows()
        return block

    def check_rows(self) -> None:
        """Raise FormatError when arrays that must have one row a frame do not; looks at shapes only."""


COLUMNS: Final = ("index", "point", "kind", "dwell_s", "position_m", "time_s")


def _check_columns(block: Block, rows: int) -> None:
    for name in COLUMNS:
        shape = block.arrays[name].shape
        if shape != ((rows, 2) if name == "position_m" else (rows,)):
            raise FormatError(f"{type(block).__name__}: column '{name}' has shape {shape}, but there are {rows} frames")


@dataclass(frozen=True, slots=True)
class Plan(Block):
    """The frames that a scan is going to take, one row a frame in `COLUMNS`; `address` says where the detector is."""

    required = COLUMNS

    def check_rows(self) -> None:
        """Every column has one row a frame."""
        _check_columns(self, len(self.arrays["index"]))

    @property
    def address(self) -> str:
        """Where the detector waits for its receiver, as udp://host:port; empty when it is configured by hand."""
        return str(self.header.facts.get("address", ""))


@dataclass(frozen=True, slots=True)
class Void(Block):
    """Nothing: a replica says that no frame comes of those at `index` (n,) i64, to whoever takes frames in order."""

    required = ("index",)

    @property
    def count(self) -> int:
        """No frame."""
        return 0


@dataclass(frozen=True, slots=True)
class Frames(Block):
    """n consecutive frames (n, y, x) with one row of facts for each; rows are joined by `index`, never by order.

    index i64, point i64 (the place in the scan; all exposures of one place share it), kind u8 (FrameKind),
    dwell_s f64, position_m f64 (n, 2) as (y, x), time_s f64 (UNIX).
    """

    required = ("frames", *COLUMNS)

    def check_rows(self) -> None:
        """`frames` is (n, y, x) and every column has n rows."""
        if self.frames.ndim != 3:
            raise FormatError(f"{type(self).__name__}: frames have {self.frames.ndim} axes, expected (n, y, x)")
        _check_columns(self, len(self.frames))

    @property
    def frames(self) -> Array:
        """The frames (n, y, x)."""
        return self.arrays["frames"]

    @property
    def index(self) -> NDArray[np.int64]:
        """Frame index within the scan (n,)."""
        return self.arrays["index"]

    @property
    def point(self) -> NDArray[np.int64]:
        """Scan point of each frame (n,)."""
        return self.arrays["point"]

    @property
    def kind(self) -> NDArray[np.uint8]:
        """FrameKind of each frame (n,)."""
        return self.arrays["kind"]

    @property
    def dwell_s(self) -> NDArray[np.float64]:
        """Exposure time of each frame (n,) [s]."""
        return self.arrays["dwell_s"]

    @property
    def position_m(self) -> NDArray[np.float64]:
        """Where the beam met the sample (n, 2) as (y, x) [m]."""
        return self.arrays["position_m"]

    @property
    def time_s(self) -> NDArray[np.float64]:
        """When each frame was captured (n,) [s, UNIX]."""
        return self.arrays["time_s"]

    @property
    def count(self) -> int:
        """Frames in the block."""
        return len(self.arrays["frames"])

    def rows(self, rows: list[int]) -> Self:
        """The block of these rows, in their order; a view where they follow each other, itself where they are all."""
        first, count = rows[0], len(rows)
        if rows == list(range(first, first + count)):
            if count == self.count:
                return self
            chosen: slice | list[int] = slice(first, first + count)
        else:
            chosen = rows
        return type(self)(self.header, {
            name: array[chosen] if name in self.required else array for name, array in self.arrays.items()})


@dataclass(frozen=True, slots=True)
class RawFrames(Frames):
    """Detector samples (n, y, x) uint16 [ADU], overscan columns included; bit 0x2000 marks a sample without value."""

    unit = "ADU"


@dataclass(frozen=True, slots=True)
class CountFrames(Frames):
    """Photon counts (n, y, x) float32, zero frequency in the centre; NaN marks a pixel without value."""

    unit = "photon"


@dataclass(frozen=True, slots=True)
class Result(Block):
    """One version of a result: named arrays and scalar facts; a newer version replaces an older one."""

    @property
    def version(self) -> int:
        """Number of this version at its operator, rising."""
        return self.header.sequence

    @property
    def facts(self) -> dict[str, Fact]:
        """Scalars of this version, such as the error and the iteration."""
        return self.header.facts
