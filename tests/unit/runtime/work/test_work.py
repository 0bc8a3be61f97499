"""Work: what a body makes of its blocks goes to the ports that it names, or nothing goes on."""

from __future__ import annotations

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
from camlink.runtime.work.work import Work
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.operator import operator


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


@pytest.mark.parametrize("turns", [False, True], ids=["any order", "in order"])
def test_a_port_that_an_operator_does_not_have_is_an_error(tmp_path: Path, turns: bool) -> None:
    given, taken = MemoryLink(), MemoryLink()
    out = LinkSpec(name="on", source="astray", target="t", output="even", input="frames", kind="memory", policy="block",
                   limit_bytes=1 << 20, turns=turns)
    spec = WorkerSpec(operator="astray", replica=0, where="m:f", kind="transform", parameters={}, inputs=(),
                      outputs=(out,), folder=str(tmp_path), sockets=str(tmp_path), provenance={})
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
