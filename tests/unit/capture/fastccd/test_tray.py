from __future__ import annotations

import numpy as np

from camlink.block import Header, Plan, RawFrames, Scan
from camlink.capture.fastccd.assemble import Frame
from camlink.capture.fastccd.tray import Tray


def test_frames_are_assembled_in_the_room_that_is_given_and_each_block_has_its_own() -> None:
    given = []

    def room(shape: tuple[int, ...], dtype: object) -> np.ndarray:
        given.append(np.zeros(shape, np.uint16))
        return given[-1]

    scan = Scan(id="s", expected=4, shape=(2, 3), pixel_m=(1, 1), distance_m=1, energy_eV=1, span_m=(0, 0, 0, 0))
    rows = np.arange(4)
    plan = Plan(Header(scan=scan, made_s=0.0), {
        "index": rows, "point": rows, "kind": np.ones(4, np.uint8), "dwell_s": np.ones(4),
        "position_m": np.zeros((4, 2)), "time_s": np.zeros(4)})
    tray = Tray(plan, frames=2, nbytes=1 << 20, room=room)
    blocks: list[RawFrames] = []
    for number in range(4):
        tray.place()[:] = number
        tray.put(Frame(number, 0.0, tray.place(), None, False), number)
        if tray.full:
            blocks.append(tray.take())
    assert [np.shares_memory(block.frames, memory) for block, memory in zip(blocks, given, strict=True)] == [True, True]
    assert [block.frames[:, 0, 0].tolist() for block in blocks] == [[0, 1], [2, 3]]
