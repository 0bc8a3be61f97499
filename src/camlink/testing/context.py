"""RecordingContext: a Context that keeps what an operator tells and shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from camlink.block import Array, Block, Result
from camlink.runtime.executor import ThreadExecutor
from camlink.runtime.work.siblings import SharedFolder
from camlink.workflow.operator import FactValue, P


class RecordingScreen:
    """A Screen that keeps every block."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def show(self, block: Block) -> None:
        """Keep the block."""
        self.blocks.append(block)


class RecordingContext:
    """A Context for tests; `stop()` makes the operator come to its end."""

    def __init__(self, folder: Path, name: str = "tested") -> None:
        self.name = name
        self.site = "here"
        self.folder = folder
        self.replica = self.attempt = 0
        self.given: frozenset[int] = frozenset()
        self.provenance: Mapping[str, str] = {}
        self.screen = RecordingScreen()
        self.facts: dict[str, FactValue] = {}
        self.checkpoint: Result | None = None
        self._stopped = False

    @cached_property
    def executor(self) -> ThreadExecutor:
        """Two threads, when they are asked for."""
        return ThreadExecutor()

    @cached_property
    def siblings(self) -> SharedFolder:
        """Other contexts of this folder and name."""
        return SharedFolder(self.folder, self.name, self.replica)

    def stop(self) -> None:
        """Ask the operator to end."""
        self._stopped = True

    @property
    def kept(self) -> Result | None:
        """What was kept last, here or in the context whose `checkpoint` this one was given."""
        return self.checkpoint

    def keep(self, make: Callable[[], Result | None]) -> None:
        """Keep a copy, every time."""
        if (block := make()) is not None:
            self.checkpoint = Result(block.header, {name: array.copy() for name, array in block.arrays.items()})

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Ordinary memory."""
        return np.empty(shape, dtype)

    def stopping(self) -> bool:
        """True after `stop()`."""
        return self._stopped

    def held(self) -> bool:
        """Never."""
        return False

    def held_s(self) -> float:
        """Never."""
        return 0.0

    def changed(self, parameters: P) -> P:
        """Those given: nobody sets others."""
        return parameters

    def tell(self, **facts: FactValue) -> None:
        """Keep the facts."""
        self.facts.update(facts)
