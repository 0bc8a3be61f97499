"""The same frames over a link without keys, as a control: plain_link.py send ADDRESS FILE.cxi TAPE, or take ADDRESS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import zmq

from camlink.carry.disk.journal import read_blocks
from camlink.carry.envelope import encode
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.testing.toys import toy_frames, toy_scan


def send(context: zmq.Context[zmq.Socket[bytes]], address: str, path: Path, tape: Path) -> None:
    """Offer some kept frames and all raw ones, and wait until they are taken."""
    with read_cxi(path) as kept:
        assert kept.frames is not None
        frames = kept.frames.read(0, 8)
    outlet = ZmqOutlet(context, address, "plain")
    block = toy_frames(toy_scan(8), 0, 8)
    block = type(block)(block.header, {**block.arrays, "frames": frames.view("u2")})
    while not outlet.ready:
        outlet.pump()
        time.sleep(0.01)
    for one in (block, *read_blocks(tape)):
        while not outlet.offer(one, encode(one)):
            outlet.pump()
            time.sleep(0.001)
    outlet.finish()
    while not outlet.finished:
        outlet.pump()
        time.sleep(0.001)
    outlet.close()


def take(context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
    """Take everything."""
    inlet = ZmqInlet(context, address, "plain")
    while not inlet.ended:
        if inlet.receive() is None:
            time.sleep(0.001)
        inlet.release()
    inlet.close()


if __name__ == "__main__":
    used: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if sys.argv[1] == "send":
        send(used, sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        take(used, sys.argv[2])
    used.term()
