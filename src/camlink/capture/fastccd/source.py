"""The operator fastccd: listens to a FastCCD camera and gives the planned frames, joined to the plan by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from camlink.block import Plan, RawFrames
from camlink.capture.fastccd.parameters import FastCCDParameters
from camlink.errors import SourceSilent
from camlink.workflow.operator import Context, operator
from camlink.workflow.port import Inflow

WAIT_S: Final = 0.1


def _compile(_: FastCCDParameters) -> None:
    """Load the compiled code while services are launched: a socket that opens late would lose nothing, but time."""
    from camlink.capture.fastccd.geometry import PRESETS
    from camlink.capture.fastccd.receiver import Receiver

    Receiver(PRESETS["window"]).close()


@operator("fastccd", kind="source", prepare=_compile, resumes=True,
          ahead=("camlink.compute.compiler", "camlink.capture.fastccd.intake"))
def fastccd(plan: Inflow[Plan], *, parameters: FastCCDParameters, context: Context) -> Iterator[RawFrames]:
    """Receive the frames of a FastCCD camera over UDP and give those that the plan names.

    Takes one Plan, gives RawFrames (n, 2 rows, 96 chips) uint16 [ADU]; samples that never arrived hold 0x2000. Ends
    when every planned frame was given or is lost, or after a silence of `deadline_s`. Started again after it was killed
    it registers anew; what the camera sent meanwhile is gone.

    Raises SourceSilent when no frame came at all, AddressInUse when the port is taken, ParameterError when the
    geometry does not fit the plan.
    """
    found = _first_plan(plan, context)
    if found is not None:
        from camlink.capture.fastccd.intake import Intake  # compiled code, needed only where frames arrive

        with Intake(found, plan, parameters, context) as intake:
            yield from intake.blocks()


def _first_plan(inflow: Inflow[Plan], context: Context) -> Plan | None:
    while not context.stopping():
        if (found := inflow.take(WAIT_S)) is not None:
            return found
        if inflow.ended:
            raise SourceSilent("fastccd: the plan of the scan never arrived, its sender has closed; "
                               "look at the operator that feeds 'plan'")
    return None
