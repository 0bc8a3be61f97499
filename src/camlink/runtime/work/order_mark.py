"""OrderMark: how far an operator that takes frames in order is done, kept where it outlives the worker."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from camlink.block import Turn
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.hand import map_file
from camlink.runtime.work.porter import JOURNALS

_SLOT: Final = struct.Struct("<QQ")
_SLOTS: Final = 64


class OrderMark:
    """A mapped file: for each chain, one more than the number of the last turn that is done; of the newest 64 chains.

    It is written before the turn is acknowledged: one that comes again nevertheless is below the mark and taken.
    """

    def __init__(self, spec: WorkerSpec, port: str) -> None:
        self._path = Path(spec.folder) / JOURNALS / f"{spec.operator}-{spec.replica}-{port}.mark"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._map = map_file(self._path, _SLOT.size * _SLOTS)
        found = {at: _SLOT.unpack_from(self._map, at) for at in range(0, len(self._map), _SLOT.size)}
        self._places = {chain: at for at, (chain, _) in found.items() if chain}
        self.known = {chain: number for chain, number in found.values() if chain}
        self._next = len(self._places) * _SLOT.size

    def note(self, turn: Turn | None) -> None:
        """A part of this turn is done, and so is every turn before it; a block without one needs no mark."""
        if turn is None or turn.number < 0:
            return
        at = self._places.get(turn.chain)
        if at is None:
            at = self._places[turn.chain] = self._next % len(self._map)
            self._next += _SLOT.size
        _SLOT.pack_into(self._map, at, turn.chain, turn.number + 1)

    def close(self, *, well: bool) -> None:
        """Close the file; it goes when the worker ended well."""
        self._map.close()
        if well:
            self._path.unlink(missing_ok=True)
