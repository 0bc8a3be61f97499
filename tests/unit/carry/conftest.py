from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from camlink.carry.disk.spilling import SpillingOutlet
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Kind
from camlink.carry.memory import MemoryOutlet
from camlink.testing.ends import Ends, Make

KINDS: tuple[Kind, ...] = ("memory", "zmq", "shm")


@pytest.fixture
def make_kind(tmp_path: Path) -> Iterator[Callable[[Kind], Make]]:
    """Makers of links of each kind; all ends are closed after the test."""
    context = zmq.Context()
    made: list[Ends] = []
    inlets: list[Inlet] = []

    def of(kind: Kind) -> Make:
        def make(policy: str, limit_bytes: int, receivers: int) -> Ends:
            number = len(made)
            outlet = make_outlet(context, kind, "l", str(tmp_path / str(number)), receivers=receivers, policy=policy,
                                 limit_bytes=limit_bytes, spill=tmp_path / f"{number}.spill")
            inner = outlet.outlet if isinstance(outlet, SpillingOutlet) else outlet
            if isinstance(inner, MemoryOutlet):
                ends = Ends(outlet, lambda name, attempt: kept(inner.join(name, attempt)))
            else:
                ends = Ends(outlet, lambda name, attempt: kept(
                    make_inlet(context, outlet.address, "l", name, attempt)))
            made.append(ends)
            return ends

        return make

    def kept(inlet: Inlet) -> Inlet:
        inlets.append(inlet)
        return inlet

    yield of
    for inlet in inlets:
        inlet.abandon()
    for ends in made:
        ends.outlet.close()
    context.destroy(linger=0)
