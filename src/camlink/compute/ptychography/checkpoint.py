"""Checkpoint: where a reconstruction stood; its next attempt goes on from there once its frames have come again."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.block import Fact, Header, Result, Scan
from camlink.compute.arrays import to_host
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.intake import Batch
from camlink.compute.ptychography.many.team import Team
from camlink.compute.ptychography.parameters import MADE_WITH, SolveParameters
from camlink.errors import FormatError

Array = NDArray[Any]
_ROWS: Final = {"index": (), "born": (), "gains": (), "corners": (2,), "told": (2,)}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What cannot be had from the frames; waves are not among it, since those of object and probe agree with both.

    image (H, W) and probe (mode, y, x) after `iteration` iterations, the probe scaled to `power` [photon], background
    (y, x) or (0, 0), and of the frames index (n,), the iteration when each came, born (n,), gains (n,), corners (n, 2)
    where they were found and told (n, 2) where they came [pixel]. Of a team's frames nothing is kept. `settled` is
    that of the schedule.
    """

    iteration: int
    power: float
    settled: bool
    arrays: dict[str, Array]

    @staticmethod
    def of(engine: Engine | Team, *, settled: bool) -> Checkpoint:
        """Where an engine stands now."""
        arrays = {"object": to_host(engine.image), "probe": to_host(engine.probe)}
        if isinstance(engine, Engine):
            slots = engine.slots
            arrays |= {"index": slots.indices, "born": engine.iteration - engine.ages, "corners": slots.corners,
                       "told": slots.told, "gains": to_host(engine.frames.gains)}
            if engine.background is not None:
                arrays["background"] = to_host(engine.background)
        return Checkpoint(engine.iteration, engine.constraints.power, settled, arrays)

    def block(self, scan: Scan, parameters: SolveParameters) -> Result:
        """As a block, with what it belongs to."""
        facts: dict[str, Fact] = {"iteration": self.iteration, "power": self.power, "settled": self.settled,
                                  "parameters": _text(parameters)}
        return Result(Header(scan=scan, made_s=time(), facts=facts), self.arrays)

    @staticmethod
    def read(block: Result, scan: Scan, geometry: Geometry, parameters: SolveParameters) -> Checkpoint:
        """The checkpoint in a block; raises FormatError when it belongs to something else."""
        facts, arrays = block.facts, dict(block.arrays)
        if block.scan != scan:
            raise FormatError(f"a checkpoint of scan '{block.scan.id}' as it was then, now it is '{scan.id}'")
        if facts.get("parameters") != _text(parameters):
            raise FormatError(f"a checkpoint of scan '{scan.id}' with other parameters")
        power, iteration = float(facts.get("power", 0)), int(facts.get("iteration", 0))
        rows = len(arrays.get("index", ()))
        wanted = {"object": geometry.shape, "probe": (parameters.modes, *geometry.frame),
                  "background": geometry.frame, **{name: (rows, *more) for name, more in _ROWS.items()}}
        for name, array in arrays.items():
            if array.shape != wanted.get(name) or not np.isfinite(array).all():
                raise FormatError(f"a checkpoint of scan '{scan.id}' whose '{name}' has shape {array.shape} or values "
                                  f"that are not finite, expected {wanted.get(name, 'nothing')}")
        if not {"object", "probe"} <= arrays.keys() or (rows and not _ROWS.keys() <= arrays.keys()) or power <= 0:
            raise FormatError(f"a checkpoint of scan '{scan.id}' that lacks something")
        return Checkpoint(iteration, power, bool(facts.get("settled")), arrays)

    @property
    def index(self) -> Array:
        """Indices (n,) of the frames that took part."""
        return self.arrays.get("index", np.zeros(0, np.int64))

    def put(self, engine: Engine | Team, batch: Batch) -> int:
        """Let a new engine take frames, those that were there before as old and where they were.

        Gives how many found no room. A frame that now comes from elsewhere is taken as new.
        """
        engine.iteration = self.iteration
        if isinstance(engine, Team) or not len(self.index):
            return engine.put(batch.index, batch.amplitude, batch.corners, batch.weights)
        order = np.argsort(self.index)
        found = order[np.clip(np.searchsorted(self.index, batch.index, sorter=order), 0, len(order) - 1)]
        known = (self.index[found] == batch.index) & (self.arrays["told"][found] == batch.corners).all(axis=1)
        corners = np.where(known[:, None], self.arrays["corners"][found], batch.corners)
        missed = engine.put(batch.index, batch.amplitude, corners, batch.weights)
        slots, space = engine.slots.find(batch.index), engine.kernel.space
        here = slots >= 0
        born = np.where(known, self.arrays["born"][found], self.iteration)
        engine.slots.renew(slots[here], batch.corners[here], born[here])
        gains = np.where(known, self.arrays["gains"][found], 1)
        engine.frames.gains[space.asarray(slots[here])] = space.asarray(gains[here])
        if "background" in self.arrays:
            engine.background = space.asarray(self.arrays["background"])
        return missed


def _text(parameters: SolveParameters) -> str:
    return msgspec.json.encode({name: getattr(parameters, name) for name in MADE_WITH}).decode()
