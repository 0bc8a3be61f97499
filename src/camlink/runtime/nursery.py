"""Nursery: a process of one thread that has imported what workers import, and forks into those that it is asked for.

It is asked by a line, one end of a pair of sockets: a Birth in msgpack, with a file of what the new process reads
first, and a pipe; it answers with the process id. Who holds the other end becomes the parent, so that the new process
ends with it whatever becomes of the nursery. One whose birth was never told, since the nursery was killed then, must
not live: the new process waits until the parent has said in the pipe that it knows of it, and ends when that is closed.
A nursery that an import left with more threads or files cannot fork and ends.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Final

import msgspec

from camlink.errors import PeerLost
from camlink.runtime.title import write_title
from camlink.workflow.operator import Operator

MODULE: Final = "camlink.runtime.process"
ROOM: Final = "-" * 160
"""Room on its command line for the names that its children are going to have."""
MOST_BYTES: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_ADOPTED_S: Final = 0.0005

_known: set[str] = set()


class Birth(msgspec.Struct, frozen=True):
    """What a forked process is going to be; without words nobody is born, and only imported.

    `words` are its role and what follows on its command line, `where` an operator that is imported ahead unless
    `plain`; one that is `mortal` is killed with its parent; `log` is the file that takes what it prints; `said` is read
    from the file that comes with it.
    """

    name: str
    words: tuple[str, ...] = ()
    where: str = ""
    plain: bool = False
    mortal: bool = False
    log: str = ""
    environment: dict[str, str] = {}
    said: bytes = b""


def end_with_parent(parent: int, with_signal: signal.Signals) -> None:
    """Ask the kernel for `with_signal` when the process `parent` that started this one is gone.

    Raises PeerLost when it is gone already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        raise PeerLost(f"the process {parent} that started this one ended before it was ready")


def adopt() -> None:
    """From now on this process is the parent of those below it whose own parent has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def nurse(line: socket.socket, parent: int) -> Birth | None:
    """Serve until the other end of the line is gone; returns in each child of `parent` what that is to become."""
    fds = _fds()
    while True:
        said, files, *_ = socket.recv_fds(line, MOST_BYTES, 2)
        if not said:
            return None
        birth = msgspec.msgpack.decode(said, type=Birth)
        if not birth.plain and birth.where not in _known:
            _import(birth.where)
        if len(os.listdir("/proc/self/task")) > 1 or _fds() - len(files) > fds:
            sys.exit(f"{birth.where}: its module starts threads or opens files when it is imported, so that its "
                     "workers have to import it themselves and start later")
        pid = _bear() if birth.words else -1
        if pid == 0:
            line.close()
            return _grow(birth, files[0], files[1], parent)
        for file in files:
            os.close(file)
        line.send(msgspec.msgpack.encode((birth.name, pid)))


def fork_nursery() -> tuple[socket.socket, int] | Birth:
    """A nursery below this process, which has one thread yet: its line and its process id; a Birth in its children."""
    parent = os.getpid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if pid := os.fork():
        theirs.close()
        return ours, pid
    ours.close()
    end_with_parent(parent, signal.SIGKILL)
    name_process("nursery", str(parent))
    return nurse(theirs, parent) or Birth("")


def name_process(*words: str) -> None:
    """Write the command line anew, for those who look at processes."""
    write_title([sys.executable, "-m", MODULE, *words])


def _import(where: str) -> None:
    """Import an operator, and what it says that its body is going to import."""
    _known.add(where)
    module, _, name = where.partition(":")
    with suppress(Exception):  # a worker that needs it is going to say what is wrong with it
        found = getattr(importlib.import_module(module), name)
        for ahead in found.ahead if isinstance(found, Operator) else ():
            importlib.import_module(ahead)
    gc.collect()
    gc.freeze()  # what is here stays: pages that no collection touches are shared with the children


def _bear() -> int:
    """Fork a process that is nobody's child, so that it is adopted: its id, and 0 in it."""
    ears, mouth = os.pipe()
    middle = os.fork()
    if not middle:
        middle = os.getpid()
        if pid := os.fork():
            os.write(mouth, pid.to_bytes(4, "little"))
            os._exit(0)
        os.close(ears)
        os.close(mouth)
        while os.getppid() == middle:
            time.sleep(_ADOPTED_S)
        return 0
    os.close(mouth)
    told = os.read(ears, 4)
    os.close(ears)
    with suppress(ChildProcessError):
        os.waitpid(middle, 0)
    return int.from_bytes(told, "little") if told else -1


def _grow(birth: Birth, file: int, go: int, parent: int) -> Birth:
    """In the new process: once the parent knows of it, take its log, environment and what it reads first."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if birth.mortal:
        end_with_parent(parent, signal.SIGKILL)
    if not os.read(go, 1):
        os._exit(0)
    os.close(go)
    os.environ.update(birth.environment)
    if birth.log:
        log = os.open(birth.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    if (numbers := sys.modules.get("numpy.random")) is not None:
        numbers.seed()  # else all children would draw the same
    with os.fdopen(file, "rb") as said:
        return msgspec.structs.replace(birth, said=said.read())


def _fds() -> int:
    return len(os.listdir("/proc/self/fd"))
