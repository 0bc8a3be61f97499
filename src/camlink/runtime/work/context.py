"""WorkerContext: what an operator sees of the runtime while it works."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import DTypeLike

from camlink.block import Array, Result
from camlink.errors import OperatorFailed
from camlink.runtime.cluster.client import open_executor
from camlink.runtime.cluster.side import entrance_of
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.checkpoint import Checkpoint
from camlink.runtime.work.given import read_given
from camlink.runtime.work.pulse import Pulse
from camlink.runtime.work.siblings import SharedFolder
from camlink.workflow.executor import Executor
from camlink.workflow.operator import FactValue, P, Screen
from camlink.workflow.parameter import build
from camlink.workflow.siblings import Siblings


class _Pauses(NamedTuple):
    """The pauses of a run [s]: those that are over in all, and since when there is one; replaced as a whole.

    The thread that listens to the master writes them, that of the operator reads them.
    """

    over_s: float = 0.0
    since_s: float | None = None


class WorkerContext:
    """What the operator sees of the runtime (workflow.operator.Context)."""

    def __init__(self, spec: WorkerSpec, screen: Screen, stopping: Callable[[], bool],
                 pulse: Pulse | None = None) -> None:
        self.name = spec.operator
        self.site = spec.site
        self.folder = Path(spec.folder)
        self.replica, self.attempt = spec.replica, spec.attempt
        self.given = read_given(spec) if spec.kind == "source" else frozenset()
        self.provenance: Mapping[str, str] = spec.provenance
        self.screen = screen
        self.siblings: Siblings = SharedFolder(self.folder, spec.operator, spec.replica)
        self._stopping, self._pulse = stopping, pulse or Pulse()
        self.facts: dict[str, FactValue] = {}
        self.room: Callable[[tuple[int, ...], DTypeLike], Array] = np.empty  # until the links are bound
        self._entrance = entrance_of(Path(spec.sockets), spec.cluster) if spec.cluster else None
        self._executor: Executor | None = None
        self._checkpoint = Checkpoint(spec)
        self._pauses = _Pauses()
        self.wanted: dict[str, Any] | None = None
        self._taken: dict[str, Any] | None = None

    @property
    def executor(self) -> Executor:
        """Made when it is asked for first; threads here, or the cluster of the site. Raises PeerLost, InputError."""
        if self._executor is None:
            self._executor = open_executor(self._entrance)
        return self._executor

    @property
    def trouble(self) -> dict[str, FactValue]:
        """Why the checkpoint could not be read or written, as a fact."""
        return {"checkpoint": self._checkpoint.trouble} if self._checkpoint.trouble else {}

    @property
    def work(self) -> dict[str, FactValue]:
        """How far the work is that it gave to the executor, as a fact."""
        return {"work": self._executor.tally()._asdict()} if self._executor is not None else {}

    def close(self, *, well: bool) -> None:
        """Close the executor; after a good end nobody needs the checkpoint."""
        if well:
            self._checkpoint.remove()
        if self._executor is not None:
            self._executor.close()

    @property
    def kept(self) -> Result | None:
        """What earlier attempts kept; a fact says why it cannot be read."""
        return self._checkpoint.read()

    def keep(self, make: Callable[[], Result | None]) -> None:
        """Keep what `make` gives for the next attempt, when it is time for it."""
        self._pulse.beat()
        self._checkpoint.keep(make)

    def stopping(self) -> bool:
        """True when the operator is asked to come to its end soon."""
        self._pulse.beat()
        return self._stopping()

    def held(self) -> bool:
        """True while the run is paused."""
        self._pulse.beat()
        return self.is_held

    @property
    def is_held(self) -> bool:
        """Whether the run is paused; not a word of the operator."""
        return self._pauses.since_s is not None

    def hold(self, held: bool) -> None:
        """The run is paused, or goes on."""
        if held is not self.is_held:
            self._pauses = _Pauses(self.held_s(), time.monotonic() if held else None)

    def held_s(self) -> float:
        """For how long the run has been paused in all [s]."""
        pauses = self._pauses
        return pauses.over_s + (time.monotonic() - pauses.since_s if pauses.since_s is not None else 0.0)

    def changed(self, parameters: P) -> P:
        """The parameters that somebody has set since this was asked last, or those given."""
        if (wanted := self.wanted) is None or wanted is self._taken:  # a newer one may come at any time
            return parameters
        self._taken = wanted
        return cast("P", build(type(parameters), wanted, self.name))

    def tell(self, **facts: FactValue) -> None:
        """Facts for the page and the report; a later value replaces an earlier one.

        Numbers of NumPy are numbers; raises OperatorFailed for what is none, no text and no list or record of these.
        """
        self._pulse.beat()
        try:
            plain = msgspec.msgpack.decode(msgspec.msgpack.encode(facts, enc_hook=_as_plain))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise OperatorFailed(f"{self.name}: tell({', '.join(facts)}): {error}; tell numbers, texts, lists or "
                                 "records of them") from None
        self.facts = {**self.facts, **plain}


def _as_plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no fact")
