"""Invitation: where a receiver asks the sender of its link to dial it, said on another way between them that works.

So a link is direct also where only its receiver can be dialled. Whoever dials, the sender is the server of CURVE and
both pin each other's key: a stranger at either end of such a connection gets no further than the handshake.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Annotated, Final

import msgspec

from camlink.errors import WireError

INVITE: Final = b"!"
MOST_PLACES: Final = 32


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """All endpoints (tcp://ADDRESS:PORT) where an attempt of a receiver wants to be dialled from now on; maybe none."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    attempt: int
    endpoints: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=80)], ...], msgspec.Meta(max_length=MOST_PLACES)]

    def written(self) -> bytes:
        """As a message of a link."""
        return INVITE + msgspec.msgpack.encode(self)


def read_invitation(message: bytes) -> Invitation:
    """The invitation in a message; raises WireError when it is none, or leads to what is no address of a machine."""
    try:
        invitation = msgspec.msgpack.decode(message[len(INVITE):], type=Invitation)
        for endpoint in invitation.endpoints:
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            ipaddress.ip_address(host.strip("[]"))
            # a scope (%) means something to its own machine only, and ZeroMQ raises for some
            if (not port.isdecimal() or not 0 < int(port) < 1 << 16 or "%" in host
                    or endpoint != endpoint_of(host.strip("[]"), int(port))):
                raise ValueError
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise WireError("an invitation that is none, or to what is no address") from None
    return invitation


def listen_at(host: str) -> socket.socket:
    """A socket that listens at a free port of `host`, to be dialled by a sender; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    listener.setblocking(False)
    return listener


def endpoint_of(host: str, port: int) -> str:
    """What a socket of ZeroMQ connects to."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
