"""Listeners: every port and socket at which processes of camlink listen, and what protects each of them."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from camlink.runtime.doctor.probe import probe

_MARKS: Final = ("camlink.runtime.process", "camlink")
_ACCEPTS: Final = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix


class Listener(NamedTuple):
    """One place where something listens: whose, where, who can reach it and what protects it."""

    pid: int
    role: str
    where: str
    reach: str
    protection: str

    @property
    def open(self) -> bool:
        """Whether somebody who should not could talk to it: reachable from elsewhere, and nothing protects it."""
        return not self.protection and self.reach != "this machine"


def find_listeners(processes: Iterable[psutil.Process] | None = None) -> list[Listener]:
    """The listeners of `processes`, by default of every process of camlink of this user and of what they started."""
    found = {}
    accepting = _accepting()
    for process in camlink_processes() if processes is None else processes:
        with suppress(psutil.Error):
            role = _role(process)
            for connection in process.net_connections("all"):
                if listener := _listener(process.pid, role, connection, accepting):
                    found[listener.where, listener.pid] = listener
    return sorted(found.values())


def camlink_processes() -> list[psutil.Process]:
    """Processes of camlink of this user but this one, programs that embed a run, and everything below them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == os.getuid() and _is_camlink(words := process.cmdline()):
                above = process.parent() if _MARKS[0] in words else None  # a master may be any program
                mine = [above] if above is not None and above.pid > 1 and above.uids().real == os.getuid() else []
                for one in (*mine, process, *process.children(recursive=True)):
                    found[one.pid] = one
    found.pop(os.getpid(), None)
    return list(found.values())


def _is_camlink(words: list[str]) -> bool:
    if len(words) < 2 or "python" not in Path(words[0]).name:
        return False
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else Path(words[1]).name
    return module in _MARKS


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    for number, word in enumerate(words):
        if word in _MARKS or Path(word).name in _MARKS:
            said = [word for word in words[number + 1:number + 4] if "://" not in word]  # agent here, worker solve/0/0
            return " ".join(said[:2])[:40]
    return process.name()


def _listener(pid: int, role: str, connection: psutil._ntuples.pconn, accepting: set[str]) -> Listener | None:
    if connection.family == socket.AF_UNIX:
        path = str(connection.laddr)
        if path not in accepting:
            return None
        guarded = _guard_of(path)
        return Listener(pid, role, f"unix {path}", "its user" if guarded else "this machine's users", guarded)
    if not connection.laddr or connection.raddr:
        return None
    host, port = connection.laddr.ip, connection.laddr.port
    address = ipaddress.ip_address(host)
    reach = "this machine" if address.is_loopback else "other machines"
    if connection.type == socket.SOCK_DGRAM:
        return Listener(pid, role, f"udp {host}:{port}", reach, "")
    if connection.status != psutil.CONN_LISTEN:
        return None
    nearby = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return Listener(pid, role, f"tcp {host}:{port}", reach, probe(nearby, port))


def _accepting() -> set[str]:
    """Paths of all unix sockets that accept connections; abstract ones begin with @."""
    found = set()
    with suppress(OSError):
        for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
            columns = line.split(maxsplit=7)
            if len(columns) == 8 and int(columns[3], 16) & _ACCEPTS:
                found.add(columns[7])
    return found


def _guard_of(path: str) -> str:
    """The folder above a socket that lets in its user alone; nothing where others come in."""
    if not path.startswith("/"):
        return ""  # an abstract name: everybody on this machine reaches it
    for folder in Path(path).parents:
        with suppress(OSError):
            found = folder.stat()
            if found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077:
                return f"folder {folder} of mode 0700"
    with suppress(OSError):
        if not Path(path).stat().st_mode & 0o077:
            return "socket of mode 0600"
    return ""
