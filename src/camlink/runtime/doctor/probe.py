"""Probe: what protects a port, found out by knocking: it says a greeting, asks for a login, speaks TLS, or is open."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final

from camlink.carry.far.ticket import MAGIC

GREETS_S: Final = 0.5
ANSWERS_S: Final = 2.0  # a page of a busy run takes its time, and would be told as open
_ZMTP: Final = b"\xff" + bytes(8) + b"\x7f"
_GREETING: Final = _ZMTP + b"\x03\x00"  # no mechanism of ours: it tells its own first
_GREETING_BYTES: Final = 64
_MECHANISM: Final = slice(12, 32)
_ASK: Final = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def probe(host: str, port: int) -> str:
    """What protects the TCP port: CURVE, ticket, login, TLS or ssh; nothing when it would talk to anybody."""
    return _by_greeting(host, port) or _by_tls(host, port) or _by_asking(host, port)


def _by_greeting(host: str, port: int) -> str:
    """Who speaks first says what it is."""
    with suppress(OSError), socket.create_connection((host, port), timeout=GREETS_S) as dialled:
        said = dialled.recv(_GREETING_BYTES)
        if said.startswith(_ZMTP[:1]) and len(said) >= len(_ZMTP) and said[9:10] == _ZMTP[9:10]:
            dialled.sendall(_GREETING)
            while len(said) < _MECHANISM.stop and (more := dialled.recv(_GREETING_BYTES - len(said))):
                said += more
            return "CURVE" if said[_MECHANISM].rstrip(b"\0") == b"CURVE" else ""
        if said.startswith(MAGIC):
            return "ticket"
        if said.startswith(b"SSH-"):
            return "ssh"
    return ""


def _by_tls(host: str, port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # we look, and send nothing
    with suppress(OSError), socket.create_connection((host, port), timeout=ANSWERS_S) as dialled:
        try:
            with context.wrap_socket(dialled):
                return "TLS"
        except ssl.SSLError as error:
            return "TLS" if "ALERT" in str(error.reason or "") else ""
    return ""


def _by_asking(host: str, port: int) -> str:
    with suppress(OSError), socket.create_connection((host, port), timeout=ANSWERS_S) as dialled:
        dialled.sendall(_ASK)
        line = dialled.recv(256).partition(b"\r\n")[0].split()
        if len(line) > 1 and line[0].startswith(b"HTTP/") and line[1] in (b"401", b"403"):
            return "login"
    return ""
