"""Toy operators whose ports cover what graphs can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from camlink.block import Block, CountFrames, RawFrames, Result
from camlink.errors import UnknownName
from camlink.workflow.operator import Operator, operator
from camlink.workflow.port import Inflow


@operator("toy.camera")
def camera(*, rate_hz: float = 1.0) -> Iterator[RawFrames]:
    """Give frames."""
    yield from ()


@operator("toy.reduce")
def reduce(frames: RawFrames) -> CountFrames:
    """Turn samples into counts."""
    return CountFrames(frames.header, frames.arrays)


@operator("toy.solve")
def solve(frames: Inflow[CountFrames], *, beta: float = 0.5) -> Iterator[Result]:
    """Iterate."""
    yield from ()


@operator("toy.record")
def record(frames: Inflow[CountFrames], results: Inflow[Result]) -> None:
    """Keep both."""


@operator("toy.view", kind="view")
def view(blocks: Inflow[Block]) -> None:
    """Show anything."""


@operator("toy.pair")
def pair(left: CountFrames, right: CountFrames) -> CountFrames:
    """Take both of each frame."""
    return left


@operator("toy.label")
def label(frames: CountFrames, image: Result) -> CountFrames:
    """Want a key of what has none."""
    return frames


TOYS = {op.name: op for op in (camera, reduce, solve, record, view, pair, label)}


@pytest.fixture
def find() -> Callable[[str], Operator]:
    def by_name(name: str) -> Operator:
        if name not in TOYS:
            raise UnknownName("operator", name, TOYS)
        return TOYS[name]

    return by_name
