"""tape.raw and tape.counts: the sources that play what a tap wrote."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from camlink.block import Block, CountFrames, RawFrames
from camlink.capture.moment import wait_until
from camlink.capture.tape.faults import TapeFaults, Timed, spoiled
from camlink.carry.disk.journal import read_blocks
from camlink.errors import FormatError, ParameterError
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about

PASSED: Final = "passed_s"


class TapeParameters(Parameters, frozen=True):
    """Which tape, how fast, and what goes wrong."""

    file: Annotated[str, about("File that a tap wrote (.blocks)")] = ""
    speed: Annotated[float, about("Times the pace at which the blocks passed; 0 = as fast as they are taken",
                                  ge=0.0)] = 1.0
    faults: Annotated[str, about("late=, lost=, duplicated=, reordered=, corrupt= (probability of a block), late-s=, "
                                 "seed=")] = ""


@operator("tape.raw", kind="source", resumes=True, pauses=True)
def raw(*, parameters: TapeParameters, context: Context) -> Iterator[RawFrames]:
    """Play raw frames that a tap wrote.

    Raises ParameterError without a file, FormatError for a tape that is damaged or holds something else.
    """
    yield from _play(parameters, context, RawFrames)


@operator("tape.counts", kind="source", resumes=True, pauses=True)
def counts(*, parameters: TapeParameters, context: Context) -> Iterator[CountFrames]:
    """Play photon counts that a tap wrote.

    Raises ParameterError without a file, FormatError for a tape that is damaged or holds something else.
    """
    yield from _play(parameters, context, CountFrames)


def first_block(path: Path) -> Block:
    """The first block of a tape, which tells what is on it; raises FormatError."""
    if not path.is_file():
        raise FormatError(f"tape {path} is not there; `camlink record` writes one")
    for block in read_blocks(path):
        return block
    raise FormatError(f"tape {path} is empty")


def _play(parameters: TapeParameters, context: Context, kind: type[Any]) -> Iterator[Any]:
    if not parameters.file:
        raise ParameterError(f"{context.name}.file: name the tape to play, such as file=camera.blocks")
    path, faults = Path(parameters.file).expanduser(), TapeFaults.parse(parameters.faults)
    first_block(path)
    frames = {(one.block.header.scan.id, int(index)) for one in _timed(path, kind)
              for index in one.block.arrays["index"]}
    one_scan = len({scan for scan, _ in frames}) == 1
    before = context.given if one_scan else frozenset()  # of several scans all come again, and are left out there
    lost, given = Counter[str](), {(scan, index) for scan, index in frames if index in before}
    context.tell(frames_expected=len(frames), frames_captured=len(given))
    begun_s = 0.0
    for timed in spoiled(_timed(path, kind), faults, lost):
        if before and before.issuperset(timed.block.arrays["index"].tolist()):
            continue
        begun_s = begun_s or time.monotonic() - context.held_s() - (
            timed.due_s / parameters.speed if before and parameters.speed else 0.0)
        due_s = begun_s + context.held_s() + timed.due_s / parameters.speed if parameters.speed else 0.0
        if not wait_until(due_s, context):
            return
        yield timed.block
        given.update((timed.block.header.scan.id, int(index)) for index in timed.block.arrays["index"])
        context.tell(frames_captured=len(given), frames_lost=dict(lost))
    context.tell(frames_lost=dict(lost))


def _timed(path: Path, kind: type[Any]) -> Iterator[Timed]:
    begun_s = None
    for block in read_blocks(path):
        if type(block) is not kind:
            raise FormatError(f"tape {path} holds {type(block).__name__}, not {kind.__name__}; "
                              "use the other tape source")
        passed_s = float(block.header.facts.get(PASSED, block.header.made_s))
        begun_s = passed_s if begun_s is None else begun_s
        yield Timed(max(passed_s - begun_s, 0.0), block)
