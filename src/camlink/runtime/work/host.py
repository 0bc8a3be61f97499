"""Host: what the workers of one process share, and how it makes the ends of their links."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from camlink.block import Block
from camlink.carry.disk.spilling import SpillingOutlet
from camlink.carry.far.crossing import Crossing, Passage
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Outlet
from camlink.carry.memory import MemoryOutlet
from camlink.runtime.messages import LinkSpec
from camlink.workflow.operator import Operator, Screen


class NoScreen:
    """Where blocks go that nobody looks at."""

    def show(self, block: Block) -> None:
        """Forget the block."""


@dataclass
class Host:
    """What the workers of one process share: the ZeroMQ context, outlets in memory, known operators, the screen."""

    context: zmq.Context[Any]
    control: str
    memory: dict[str, MemoryOutlet] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    screen: Screen = field(default_factory=NoScreen)
    crossing: Crossing | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cross(self, passage: bytes) -> None:
        """From now on links may lead to other machines; a newer passage takes the place of an older one."""
        with self._lock:
            if self.crossing is None:
                self.crossing = Crossing(self.context, Passage.opened(passage))
            else:
                self.crossing.renew(Passage.opened(passage))

    def bind(self, spec: LinkSpec, stem: str, spill: Path) -> Outlet:
        """The outgoing end of a link; a stem that is free for it tells where receivers find it."""
        outlet = make_outlet(self.context, spec.kind, spec.name, stem, receivers=spec.receivers, policy=spec.policy,
                             limit_bytes=spec.limit_bytes, spill=spill, crossing=self.crossing)
        ends = outlet.outlet if isinstance(outlet, SpillingOutlet) else outlet
        if isinstance(ends, MemoryOutlet):
            self.memory[outlet.address] = ends
        return outlet

    def connect(self, address: str, link: str, name: str, attempt: int, folder: Path, led: tuple[str, ...]) -> Inlet:
        """The receiving end of the link that waits at `address`; the sender learns who is there."""
        if address in self.memory:
            return self.memory[address].join(name, attempt)
        return make_inlet(self.context, address, link, name, attempt, self.crossing, folder, led)
