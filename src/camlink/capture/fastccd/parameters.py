"""FastCCDParameters: what a person may set of the receiver of a FastCCD camera."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from camlink.capture.fastccd.batch import DEFAULT_BUFFER_BYTES
from camlink.workflow.parameter import Parameters, about

FROM_PLAN: Final = -1

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)] | Literal["auto"]


class FastCCDParameters(Parameters, frozen=True, kw_only=True):
    """What the FastCCD receiver has to know; without any of it, it serves a camera on this machine."""

    port: Annotated[Port, about("UDP port to listen on; auto takes a free one")] = "auto"
    host: Annotated[str, about("address of the interface to listen on")] = "127.0.0.1"
    address: Annotated[str, about("udp://host:port of the camera to register at; empty: taken from the plan")] = ""
    detector: Annotated[str, about("geometry of the camera (window, cosmic, full); auto: from the plan")] = "auto"
    first_number: Annotated[int, about("frame number on the wire of frame 0 of the plan; -1: as the plan says, else 0",
                                       ge=FROM_PLAN)] = FROM_PLAN
    receive_buffer_bytes: Annotated[int, about("receive buffer to ask the kernel for", unit="byte", ge=65536,
                                               le=1 << 30)] = DEFAULT_BUFFER_BYTES
    deadline_s: Annotated[float, about("silence after which the camera is given up", unit="s", ge=0.1)] = 10.0
    frame_deadline_periods: Annotated[float, about("frame periods after which a frame without its tail is given out, "
                                                   "after 2 s at the earliest", ge=1.0)] = 3.0
    block_frames: Annotated[int, about("most frames in a block", ge=1, le=4096)] = 16
    block_bytes: Annotated[int, about("most bytes in a block; one frame always fits", unit="byte", ge=1)] = 8 << 20
    block_wait_s: Annotated[float, about("longest wait for a block to fill up", unit="s", ge=0.0)] = 0.05
