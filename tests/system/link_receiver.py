"""A receiver in a process of its own: writes down each block that it has finished with, then releases it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import zmq

from camlink.carry.kinds import make_inlet


def main(address: str, name: str, attempt: int, journal: Path) -> None:
    """Take until the end, or until killed."""
    inlet = make_inlet(zmq.Context.instance(), address, "l", name, attempt)
    poller = zmq.Poller()
    poller.register(inlet.pollable, zmq.POLLIN)
    deadline = time.monotonic() + 60
    with journal.open("a", encoding="ascii") as file:
        while not inlet.ended and time.monotonic() < deadline:
            block = inlet.receive()
            if block is None:
                poller.poll(100)
                continue
            array, number = block.arrays["a"], block.header.sequence
            good = bool((array == number % 256).all())
            file.write(f"{number} {block.header.again} {int(good)}\n")
            file.flush()
            inlet.release()
    inlet.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
