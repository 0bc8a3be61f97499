"""Work: what a body makes of its blocks goes to the ports that it names, and what a worker tells is of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from camlink.block import RawFrames
from camlink.carry.memory import MemoryLink
from camlink.errors import Closed
from camlink.runtime.messages import LinkSpec, WorkerSpec
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.flow import Outbox
from camlink.runtime.work.host import NoScreen
from camlink.runtime.work.pulse import Pulse
from camlink.runtime.work.work import Work, write_trace
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.operator import operator
from camlink.workflow.port import Inflow


class Halves(NamedTuple):
    """Two ports."""

    even: RawFrames
    odd: RawFrames


class Others(NamedTuple):
    """One of them, and one that the operator does not have."""

    even: RawFrames
    third: RawFrames


@operator("astray")
def astray(frames: RawFrames) -> Halves:
    """Say what was not promised."""
    return cast("Halves", Others(frames, frames))


def calm() -> None:
    """Nobody says anything."""


SPEC = {"operator": "astray", "replica": 0, "where": "m:f", "kind": "transform", "parameters": {}, "inputs": (),
        "provenance": {}}


@pytest.mark.parametrize("turns", [False, True], ids=["any order", "in order"])
def test_a_port_that_an_operator_does_not_have_is_an_error(tmp_path: Path, turns: bool) -> None:
    given, taken = MemoryLink(), MemoryLink()
    out = LinkSpec(name="on", source="astray", target="t", output="even", input="frames", kind="memory", policy="block",
                   limit_bytes=1 << 20, turns=turns)
    spec = WorkerSpec(**SPEC, outputs=(out,), folder=str(tmp_path), sockets=str(tmp_path))
    context = WorkerContext(spec, NoScreen(), lambda: False)
    body = astray.make(astray.parameters(), context)
    looks = iter(range(50))

    def patient() -> None:
        if next(looks, None) is None:
            raise Closed("it waits for more")

    work = Work(spec, astray, body, None, Pulse(), patient, lambda *_: None, context)
    work.open({"on": taken.outlet})
    work.inboxes["frames"].add(given.inlet, "the camera")
    Outbox("camera", [given.outlet], calm).send(toy_frames(toy_scan(4), 0, 1))
    with pytest.raises(KeyError, match="third"):
        work.run()


@operator("two", kind="solver")
def two(left: Inflow[RawFrames], right: Inflow[RawFrames]) -> Iterator[RawFrames]:
    """Two ports."""
    yield from (*left, *right)


def test_what_was_not_in_order_is_told_of_every_port(tmp_path: Path) -> None:
    spec = WorkerSpec(**SPEC, outputs=(), folder=str(tmp_path), sockets=str(tmp_path), order_wait_s=1.0)
    context = WorkerContext(spec, NoScreen(), lambda: False)
    work = Work(spec, two, two.make(None, context), None, Pulse(), calm, lambda *_: None, context)
    work.open({})
    assert work.facts() == {}
    for late, inbox in enumerate(work.inboxes.values(), 1):
        assert inbox.ordered is not None
        inbox.ordered.order.late = late
    assert work.facts() == {"warnings": [f"{late} frames came after later ones had been given" for late in (1, 2)]}
    work.close(well=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_what_was_raised_is_told_though_its_trace_finds_no_room(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "astray.log").symlink_to("/dev/full")
    write_trace(WorkerSpec(**SPEC, outputs=(), folder=str(tmp_path), sockets=str(tmp_path)), ValueError("x"))
