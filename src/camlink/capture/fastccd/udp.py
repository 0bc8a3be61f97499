"""UDP sockets of the camera and of its receiver: bound, never blocking, with a receive buffer as large as may be."""

from __future__ import annotations

import socket

from camlink.errors import AddressInUse


def bound(host: str, port: int, whose: str) -> socket.socket:
    """A socket of `whose` at `host`:`port`, 0 for any free port; raises AddressInUse."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise AddressInUse(f"{whose} cannot bind udp://{host}:{port}: {error.strerror}{_holder(port)}; choose another "
                           "port, or a free one (0 or auto)") from None
    return sock


def _holder(port: int) -> str:
    """Which process holds a UDP port, as far as this user may know."""
    import psutil

    try:
        for link in psutil.net_connections(kind="udp4"):
            if link.laddr and link.laddr.port == port and link.pid:
                return f", held by process {link.pid} ({psutil.Process(link.pid).name()})"
    except psutil.Error:
        return ""
    return ""


def widen(sock: socket.socket, wanted: int) -> int:
    """Ask for a receive buffer of `wanted` bytes; what the kernel gave [bytes], with its own overhead counted in."""
    force = getattr(socket, "SO_RCVBUFFORCE", 33)
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, wanted)
    except OSError:  # only a privileged user may go beyond net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
