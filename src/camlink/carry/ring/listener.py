"""The socket in a folder of its user where receivers of a link through shared memory dial; nobody else is let in."""

from __future__ import annotations

import os
import socket
import struct

from camlink.errors import AddressInUse, InputError


def listen(path: str, link: str) -> socket.socket:
    """A listener at a new unix socket; raises AddressInUse, or InputError where its path is too long."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(64)
    except OSError as error:
        listener.close()
        if "too long" in str(error):
            raise InputError(f"link {link}: the path {path} is too long for a socket; set XDG_RUNTIME_DIR to a "
                             "shorter folder") from None
        raise AddressInUse(f"link {link}: cannot listen at {path}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


def accept(listener: socket.socket) -> socket.socket | None:
    """Who dialled first; None, and closed, when it is another user."""
    dialled, _ = listener.accept()
    uid = struct.unpack("3i", dialled.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if uid != os.getuid():
        dialled.close()
        return None
    dialled.setblocking(False)
    return dialled
