"""program: the operators that have a program underneath; one gives results, one frames, one is a source of frames."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from camlink.block import Block, CountFrames, Fact, Frames, Result
from camlink.errors import FormatError, OperatorFailed
from camlink.runtime.program.child import Child
from camlink.runtime.program.exchange import as_frames, as_result, read_files, write_files
from camlink.runtime.program.parameters import ProgramParameters, Surroundings, check_command
from camlink.runtime.program.stream import converse
from camlink.workflow.operator import Context, operator
from camlink.workflow.port import Inflow

LOOK_S: Final = 0.1


@operator("program", kind="solver", prepare=check_command)
def program(blocks: Inflow[Block], *, parameters: ProgramParameters, context: Context) -> Iterator[Result]:
    """Run any program on blocks and give what it makes of them as results.

    Raises OperatorFailed with its last words when it ends with anything but 0 or takes too long, FormatError when
    what it left is no result.
    """
    if parameters.by == "stream":
        yield from converse(blocks, parameters, context, _surroundings)
    elif parameters.each == "block":
        for number, block in enumerate(blocks):
            with _surroundings(parameters, context) as around:
                around.see(block)
                write_files(block, around.scratch / "in" / "000000")
                yield from _run(around, parameters, context, block)
            context.tell(runs=number + 1)
    else:
        yield from _once(blocks, parameters, context)


@operator("program.frames", kind="transform", prepare=check_command, independent=True)
class FramesProgram:
    """Run any program on each block of frames; what it leaves takes the place of the block's arrays."""

    def __init__(self, parameters: ProgramParameters, context: Context) -> None:
        self._parameters, self._context = parameters, context
        if parameters.by != "files":
            raise FormatError("program.frames takes files; use `by: files`, or `use: program` for a stream")

    def __call__(self, frames: Frames) -> CountFrames:
        """The frames that the program makes of these."""
        with _surroundings(self._parameters, self._context) as around:
            around.see(frames)
            write_files(frames, around.scratch / "in" / "000000")
            _work(around, self._parameters, self._context)
            arrays, facts = read_files(around.scratch / "out")
            return as_frames(arrays, facts, frames)


def _once(blocks: Inflow[Block], parameters: ProgramParameters, context: Context) -> Iterator[Result]:
    with _surroundings(parameters, context) as around:
        last: Block | None = None
        for number, block in enumerate(blocks):
            last = block
            around.see(block)
            write_files(block, around.scratch / "in" / f"{number:06d}")
            context.tell(blocks_written=number + 1)
        if last is not None:
            yield from _run(around, parameters, context, last)


def _run(around: Surroundings, parameters: ProgramParameters, context: Context, last: Block) -> Iterator[Result]:
    _work(around, parameters, context)
    arrays, facts = read_files(around.scratch / "out")
    if arrays or facts:
        yield as_result(arrays, facts, last.scan)


def _work(around: Surroundings, parameters: ProgramParameters, context: Context) -> None:
    """Start the program and wait for its end, in bounded time; when we are stopped it is asked to end."""

    def heard(facts: dict[str, Fact]) -> None:
        context.tell(**facts)

    output = context.folder / "log" / f"{context.name}.out"
    deadline_s = time.monotonic() + parameters.timeout_s
    with Child(around.command(), around.scratch, around.environment(), output, heard,
               removal=around.removal) as child:
        while not child.ended(LOOK_S):
            if context.stopping():
                child.end(parameters.grace_s)
                return
            if time.monotonic() > deadline_s:
                child.end(parameters.grace_s)
                raise OperatorFailed(f"{parameters.command[0]} ran for {parameters.timeout_s:g} s and was ended; set "
                                     f"{context.name}.timeout_s when it needs longer (what it said: {output})")
        child.check()


@contextmanager
def _surroundings(parameters: ProgramParameters, context: Context) -> Iterator[Surroundings]:
    """A scratch folder of mode 0700 for one run; it stays when the run failed or `keep` is set."""
    parent = context.folder / "scratch"
    parent.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{context.name}-", dir=parent))
    (scratch / "in").mkdir()
    (scratch / "out").mkdir()
    yield Surroundings(parameters, context, scratch)
    if not parameters.keep:
        shutil.rmtree(scratch, ignore_errors=True)
