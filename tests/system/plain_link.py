"""The same frames over a link without keys, as a control of the capture: plain_link.py send|take ADDRESS FILE.cxi."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import zmq

from camlink.carry.envelope import encode
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.testing.toys import toy_frames, toy_scan


def send(context: zmq.Context[zmq.Socket[bytes]], address: str, path: Path) -> None:
    """Offer the kept frames and wait until they are taken."""
    with read_cxi(path) as kept:
        assert kept.frames is not None
        frames = kept.frames.read(0, 8)
    outlet = ZmqOutlet(context, address, "plain")
    block = toy_frames(toy_scan(8), 0, 8)
    block = type(block)(block.header, {**block.arrays, "frames": frames.view("u2")})
    while not outlet.ready:
        outlet.pump()
        time.sleep(0.01)
    outlet.offer(block, encode(block))
    while outlet.account.kept:
        outlet.pump()
        time.sleep(0.01)
    outlet.close()


def take(context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
    """Take one block."""
    inlet = ZmqInlet(context, address, "plain")
    while inlet.receive() is None:
        inlet.pump()
        time.sleep(0.01)
    inlet.release()
    inlet.close()


if __name__ == "__main__":
    used: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    send(used, sys.argv[2], Path(sys.argv[3])) if sys.argv[1] == "send" else take(used, sys.argv[2])
    used.term()
