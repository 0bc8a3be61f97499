"""Live: what a run looks like now; the run writes, readers pull snapshots on their own clock.

Nothing is called back: every name has a version that rises, and a reader asks for what it has not seen.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from camlink.block import Block, FrameKind, Frames, Result
from camlink.display.curve import Curve
from camlink.display.image import Lens, Picture, picture
from camlink.display.offer import M_TO_UM, Label, Offer, any_value, offers, source_of
from camlink.display.pace import KEPT, Pace
from camlink.display.shelf import Shelf
from camlink.errors import UnknownName
from camlink.runtime.status import RunStatus

SHELF_BYTES: Final = 64 << 20
MOST_POINTS: Final = 20_000
MOST_OFFERS: Final = 64


class Points(msgspec.Struct, frozen=True, kw_only=True):
    """Where the beam has been: positions (y, x) [um], the planned box (y0, x0, y1, x1) [um] and where it is now."""

    positions_um: list[tuple[float, float]] = []
    span_um: tuple[float, float, float, float] | None = None
    beam_um: tuple[float, float] | None = None
    planned: int = 0


@dataclass(frozen=True, slots=True)
class _Store:
    """Everything that was written, as one value that is replaced and never changed."""

    status: RunStatus | None
    offers: dict[str, Offer]
    points: Points


class Live:
    """The newest block of each source, and the status of the run; safe for one writer a source and many readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store = _Store(None, {}, Points())
        self._curves: dict[str, Curve] = {}
        self._versions: dict[str, int] = {"status": 0, "curves": 0, "points": 0, "pictures": 0}
        self._scan = ""
        self._pace = Pace()
        self._newest: dict[tuple[str, Lens], Label] = {}
        self._pictures: Shelf[Picture] = Shelf(SHELF_BYTES, lambda image: image.pixels.nbytes)

    def show(self, block: Block) -> None:
        """Take the newest block of its source; returns at once, pictures are made when somebody looks."""
        found = list(offers(block))
        with self._lock:
            if block.scan.id != self._scan:
                self._begin(block.scan.id)
            kept = dict(self._store.offers)
            for offer in found:
                name = offer.label.name
                if name in kept or len(kept) < MOST_OFFERS:
                    version = self._rise(name)
                    label = msgspec.structs.replace(offer.label, version=version)
                    if name not in kept or _seen(kept[name].label) != _seen(label):
                        self._rise("pictures")
                    kept[name] = Offer(label, offer.array, offer.decode, offer.valid)
            self._store = _Store(self._store.status, kept, self._pointed(block))
            if isinstance(block, Result) and block.facts:
                self._curves.setdefault(source_of(block), Curve()).add(block.header.made_s, block.facts)
                self._rise("curves")

    def put_status(self, status: RunStatus) -> None:
        """Take the newest status of the run."""
        with self._lock:
            self._store = _Store(status, self._store.offers, self._store.points)
            self._rise("status")

    def status(self) -> RunStatus | None:
        """The newest status; None before the first."""
        return self._store.status

    def versions(self) -> dict[str, int]:
        """A version that rises with every change, for "status", "curves", "points" and each picture by its name.

        That of "pictures" rises when there is another one to look at, or one that is told of differently.
        """
        with self._lock:
            return dict(self._versions)

    def labels(self) -> list[Label]:
        """What can be looked at now, by name."""
        return [offer.label for _, offer in sorted(self._store.offers.items())]

    def points(self) -> Points:
        """Where the beam has been."""
        return self._store.points

    def curves(self) -> dict[str, dict[str, list[float | None]]]:
        """Scalars of results over their versions: columns by fact and `time_s`, for each source."""
        with self._lock:
            return {source: curve.snapshot() for source, curve in self._curves.items()}

    def image(self, name: str, lens: Lens) -> tuple[Label, Picture]:
        """The newest picture `name` through `lens`, made once for all who look through the same lens.

        Raises UnknownName.
        """
        offer = self._offer(name)

        def make() -> Picture:
            begun_s = time.thread_time()
            made = picture(offer.plane, lens, offer.valid)
            self._pace.note((name, lens), time.thread_time() - begun_s, time.monotonic())
            return made

        made = self._pictures.get(_key(offer.label, lens), make)
        if (name, lens) not in self._newest and len(self._newest) >= KEPT:
            self._newest.clear()
        self._newest[name, lens] = offer.label
        return offer.label, made

    def glance(self, name: str, lens: Lens) -> tuple[Label, Picture] | None:
        """What was made for all who look through this lens, while it is too early to make a newer picture.

        None when `image` is to be asked. Costs nothing. Raises UnknownName.
        """
        newest, label = self._offer(name).label, self._newest.get((name, lens))
        if label is None or (label != newest and (newest.final or self._pace.take_turn((name, lens),
                                                                                       time.monotonic()))):
            return None
        made = self._pictures.peek(_key(label, lens))
        return None if made is None else (label, made)

    def value(self, name: str, y: int, x: int) -> tuple[Label, complex | float | None]:
        """The value of one array pixel in the unit of its label, None where there is none; raises UnknownName."""
        offer = self._offer(name)
        return offer.label, any_value(offer.plane, y, x)

    def _offer(self, name: str) -> Offer:
        store = self._store.offers
        if name not in store:
            raise UnknownName("picture", name, store)
        return store[name]

    def _begin(self, scan: str) -> None:
        """A new scan: the pictures stay until newer ones come, curves and points start again."""
        self._scan = scan
        self._curves = {}
        self._store = _Store(self._store.status, self._store.offers, Points())
        self._rise("curves")
        self._rise("points")

    def _rise(self, name: str) -> int:
        self._versions[name] = self._versions.get(name, 0) + 1
        return self._versions[name]

    def _pointed(self, block: Block) -> Points:
        before = self._store.points
        points = msgspec.structs.replace(before, span_um=_micrometres(block.scan.span_m), planned=block.scan.points)
        if isinstance(block, Frames):
            lit = np.flatnonzero((block.kind == FrameKind.EXPOSURE) & np.isfinite(block.position_m).all(axis=1))
            if lit.size:
                y, x = block.position_m[lit[-1]] * M_TO_UM
                points = msgspec.structs.replace(points, beam_um=(round(float(y), 4), round(float(x), 4)))
        elif (places := block.arrays.get("positions_m")) is not None and places.ndim == 2 and places.shape[1] == 2:
            thinned = places[:: max(1, -(-len(places) // MOST_POINTS))]
            rounded = np.round(thinned[np.isfinite(thinned).all(axis=1)].astype(float) * M_TO_UM, 4)
            points = msgspec.structs.replace(points, positions_um=[(y, x) for y, x in rounded.tolist()])
        if points != before:
            self._rise("points")
        return points


def _seen(label: Label) -> tuple[object, ...]:
    """What people learn from a label before they see the picture."""
    return label.name, label.shape, label.parts, label.pixel_um, label.origin_um, label.final


def _key(label: Label, lens: Lens) -> tuple[str, float, int, Lens]:
    return label.name, label.made_s, label.version, lens


def _micrometres(span_m: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = (round(v * M_TO_UM, 4) for v in span_m)
    return y0, x0, y1, x1
