"""Whose process is at the other end of a loopback connection; Linux tells the user of every local socket."""

from __future__ import annotations

import ipaddress
import os
import struct
from pathlib import Path
from typing import Final

_UID: Final = 7


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or address of this machine that no other machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_same_user(client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> bool:
    """Whether a process of our own user holds the far end of this connection; False when it cannot be known."""
    if client is None or server is None or server[1] is None:
        return False
    try:
        address = ipaddress.ip_address(client[0])
        if not address.is_loopback:
            return False
        wanted = _kernel_form(address, client[1]), _kernel_form(ipaddress.ip_address(server[0]), server[1])
        table = Path("/proc/net/tcp" if address.version == 4 else "/proc/net/tcp6").read_text(encoding="ascii")
    except (ValueError, OSError):
        return False
    for line in table.splitlines()[1:]:
        columns = line.split()
        if tuple(columns[1:3]) == wanted:
            return columns[_UID] == str(os.getuid())
    return False


def _kernel_form(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    """The form of /proc/net: each 32-bit word of the address as this machine reads it, then the port."""
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
