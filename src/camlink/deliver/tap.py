"""tap: the sink that writes every block that passes, with the time when it did; a tape source plays it again."""

from __future__ import annotations

from typing import Annotated

import msgspec

from camlink.block import Block
from camlink.carry.disk.journal import write_blocks
from camlink.clock import now_s
from camlink.deliver.file_name import file_in
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about
from camlink.workflow.port import Inflow


class TapParameters(Parameters, frozen=True):
    """What the tape is called."""

    file: Annotated[str, about("Name inside the folder of the run")] = "tape.blocks"


@operator("tap", kind="sink")
def tap(blocks: Inflow[Block], *, parameters: TapParameters, context: Context) -> None:
    """Write exactly what passes; `passed_s` among the facts of each block is when [s, UNIX].

    Raises StorageError when the disk refuses, ParameterError when `file` leads out of the folder.
    """
    path = file_in(context.folder, parameters.file, "tape")
    if context.attempt:
        path.unlink(missing_ok=True)  # everything comes once more
    written = 0
    for block in blocks:
        facts = {**block.header.facts, "passed_s": now_s()}
        write_blocks(path, type(block)(msgspec.structs.replace(block.header, facts=facts), block.arrays))
        written += block.count
        context.tell(frames_written=written, files=[str(path)])
