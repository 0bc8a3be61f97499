"""Writes down every packet that passes some network interfaces, until SIGTERM: capture_packets.py FILE INTERFACE..."""

from __future__ import annotations

import selectors
import signal
import socket
import struct
import sys
from pathlib import Path

EVERYTHING = 0x0003  # ETH_P_ALL
BUFFER_BYTES = 256 << 20
SO_RCVBUFFORCE = 33
SOL_PACKET, STATISTICS = 263, 6


def main(path: Path, interfaces: list[str]) -> None:
    """Write the packets one after the other, and at the end how many the kernel dropped."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    selector = selectors.DefaultSelector()
    for name in interfaces:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        tap.bind((name, 0))
        selector.register(tap, selectors.EVENT_READ)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    with path.open("wb") as file:
        while (ready := selector.select(0.2)) or not ending:
            for key, _ in ready:
                file.write(key.fileobj.recv(1 << 17))  # type: ignore[union-attr]
    for key in selector.get_map().values():
        seen, dropped = struct.unpack("II", key.fileobj.getsockopt(SOL_PACKET, STATISTICS, 8))  # type: ignore[union-attr]
        sys.stdout.write(f"{seen} packets, {dropped} dropped\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
