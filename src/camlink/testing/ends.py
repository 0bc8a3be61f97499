"""Ends: a link under test, and what tests do with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from camlink.block import Block, Header, Result, Scan
from camlink.carry.envelope import encode
from camlink.carry.link import Inlet, Outlet
from camlink.clock import now_s

NBYTES: Final = 1000
PATIENCE_S: Final = 20.0
_SCAN: Final = Scan(id="s", expected=3, shape=(4, 4), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800.0,
                    span_m=(0, 0, 1e-6, 1e-6))


class Ends(NamedTuple):
    """A link under test: its outlet, and what makes a receiver called (name, attempt)."""

    outlet: Outlet
    join: Callable[[str, int], Inlet]


Make = Callable[[str, int, int], Ends]  # policy, limit_bytes, receivers


def numbered(number: int, nbytes: int = NBYTES) -> Result:
    """A block whose every byte is its number modulo 256."""
    header = Header(scan=_SCAN, made_s=now_s(), source="test", sequence=number)
    return Result(header, {"a": np.full(nbytes, number % 256, np.uint8)})


def offer(ends: Ends, number: int, nbytes: int = NBYTES) -> bool:
    """Offer a numbered block."""
    block = numbered(number, nbytes)
    return ends.outlet.offer(block, encode(block))


def until(true: Callable[[], object], what: str) -> None:
    """Wait until `true()`, at most `PATIENCE_S`; raises AssertionError that names `what`."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.0005)


def taken(ends: Ends, inlet: Inlet) -> Block:
    """The next block, which comes within `PATIENCE_S`."""
    found: list[Block | None] = []

    def came() -> bool:
        ends.outlet.pump()
        found.append(inlet.receive())
        return found[-1] is not None

    until(came, "a block")
    assert found[-1] is not None
    return found[-1]


def receive(ends: Ends, inlet: Inlet, patience_s: float = 0.05) -> int | None:
    """Sequence of the next block, None when none came; checks that its content is what was sent."""
    deadline = time.monotonic() + patience_s
    while True:
        ends.outlet.pump()
        block = inlet.receive()
        if block is not None:
            assert (block.arrays["a"] == block.header.sequence % 256).all()
            assert not block.arrays["a"].flags.writeable or type(inlet).__name__ == "MemoryInlet"
            return block.header.sequence
        if inlet.ended or time.monotonic() > deadline:
            return None
        time.sleep(0.0005)


def joined(ends: Ends, name: str = "only", attempt: int = 0) -> Inlet:
    """A receiver that the outlet knows of."""
    inlet = ends.join(name, attempt)

    def known() -> bool:
        ends.outlet.pump()
        return name in ends.outlet.receivers

    until(known, f"the hello of {name}")
    return inlet


def lawful(ends: Ends) -> None:
    """Every frame is in exactly one place."""
    assert ends.outlet.account.snapshot().fault() == ""


def acknowledged(ends: Ends, frames: int) -> None:
    """Wait until so many frames are acknowledged, and no more."""
    def done() -> bool:
        ends.outlet.pump()
        lawful(ends)
        return ends.outlet.account.acknowledged == frames

    until(done, f"{frames} acknowledged frames")


def drained(ends: Ends, inlet: Inlet) -> list[int]:
    """What still comes when the outlet finishes; every block is released."""
    ends.outlet.finish()
    got = []
    while not inlet.ended:
        number = receive(ends, inlet, PATIENCE_S)
        if number is not None:
            got.append(number)
            inlet.release()
        lawful(ends)
    inlet.close()
    finished(ends)
    return got


def finished(ends: Ends) -> None:
    """Wait until the end is acknowledged; nothing is in custody then."""
    def done() -> bool:
        ends.outlet.pump()
        return ends.outlet.finished

    until(done, "the acknowledged end")
    lawful(ends)
    assert ends.outlet.account.kept == 0
