"""tap: the sink that writes every block that passes, with the time when it did; a tape source plays it again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

from camlink.block import Block
from camlink.carry.disk.journal import write_blocks
from camlink.clock import now_s
from camlink.deliver.file_name import file_in
from camlink.errors import ParameterError, StorageError
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about
from camlink.workflow.port import Inflow


class TapParameters(Parameters, frozen=True):
    """What the tape is called."""

    file: Annotated[str, about("Name inside the folder of the run")] = "tape.blocks"


@operator("tap", kind="sink")
def tap(blocks: Inflow[Block], *, parameters: TapParameters, context: Context) -> None:
    """Write exactly what passes; `passed_s` among the facts of each block is when [s, UNIX].

    Raises StorageError when the disk refuses, ParameterError when `file` leads out of the folder or is another tap's.
    """
    path, written = file_in(context.folder, parameters.file, "tape"), 0
    with _ours(path, anew=context.attempt > 0):  # everything comes once more
        for block in blocks:
            facts = {**block.header.facts, "passed_s": now_s()}
            write_blocks(path, type(block)(msgspec.structs.replace(block.header, facts=facts), block.arrays))
            written += block.count
            context.tell(frames_written=written, files=[str(path)])


@contextmanager
def _ours(path: Path, *, anew: bool) -> Iterator[None]:
    """Nobody else writes the tape meanwhile: two taps in one file would mix their blocks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another folder for the run") from None
    with open(held, "rb"):
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParameterError(f"file: another tap writes {path}; give each tap a `file` of its own") from None
        if anew:
            os.ftruncate(held, 0)
        yield
