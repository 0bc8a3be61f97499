"""cxi: the sink that writes frames and results of a scan into one CXI file while they arrive."""

from __future__ import annotations

from typing import Annotated, Final

from camlink.block import CountFrames, Result
from camlink.deliver.record import Record
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about
from camlink.workflow.port import Inflow

_LOOK_S: Final = 0.025


class CxiParameters(Parameters, frozen=True):
    """What the file is called and how often the result in it is renewed."""

    file: Annotated[str, about("Name inside the folder of the run; {scan} stands for the scan")] = "{scan}.cxi"
    result_every_s: Annotated[float, about("Least time between two versions of the result; the last is always kept",
                                           unit="s", ge=0.0, le=3600.0)] = 1.0


@operator("cxi", kind="sink", ahead=("camlink.carry.formats.cxi_resume",))
def cxi(frames: Inflow[CountFrames], results: Inflow[Result], *, parameters: CxiParameters,
        context: Context) -> None:
    """Keep frames and results of the scan in one CXI file that can be read at any moment.

    Frames are in the file after each block, and a frame that is sent again takes its old place; results without an
    array `object` are left to others. Ends when both inflows have ended. Raises StorageError when the disk refuses,
    ParameterError when `file` leads out of the folder.
    """
    record = Record(context.folder, parameters.file, parameters.result_every_s, context.provenance,
                    context.name, again=context.attempt > 0)
    try:
        while not (frames.ended and results.ended):
            block = None if frames.ended else frames.take(_LOOK_S)
            if block is not None:
                record.add_frames(block)
            # a busy camera must not wait for a slow solver, nor a result for an idle camera
            result = None if results.ended else results.take(0.0 if block is not None else _LOOK_S)
            if result is not None:
                record.offer(result)
            if record.write_due(file_may_start=frames.ended) or block is not None:
                context.tell(**record.facts)
        record.write_due(file_may_start=True, last=True)
    finally:
        context.tell(**record.facts)
        record.close()
    record.replace_earlier()
    context.tell(**record.facts)
