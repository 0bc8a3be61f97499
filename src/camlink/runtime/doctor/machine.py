"""What the machine has: buffers, MTU, disk, memory, shared memory, files, clock, speed, GPU, listeners."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from camlink.runtime.doctor.finding import Finding, graded
from camlink.runtime.inventory import gpu_models

GIB: Final = 1 << 30
MIB: Final = 1 << 20
LONGEST_SOCKET_BYTES: Final = 107
_STA_UNSYNC: Final = 0x0040


def look_at_machine(runs: Path, sockets: Path) -> Iterator[Finding]:
    """Every finding about this machine; `runs` is where runs are kept, `sockets` where their sockets go."""
    yield receive_buffer()
    yield loopback_mtu()
    yield disk(runs)
    yield memory()
    yield shared_memory()
    yield open_files()
    yield clock()
    yield load()
    yield speed()
    yield gpu()
    yield socket_folder(sockets)
    yield listener()


def receive_buffer() -> Finding:
    """How much the kernel keeps of UDP packets that nobody has read yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        wanted = 64 * MIB
        try:
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), wanted)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return graded("UDP receive buffer", got, f"{got / MIB:.1f} MiB", least=64 << 10, good=16 * MIB,
                  remedy="sudo sysctl -w net.core.rmem_max=67108864, else packets are lost in every short pause")


def loopback_mtu() -> Finding:
    """The largest packet on loopback, and on the other interfaces for people who connect a detector."""
    mtus = {path.parent.name: int(path.read_text()) for path in sorted(Path("/sys/class/net").glob("*/mtu"))}
    found = ", ".join(f"{name} {mtu}" for name, mtu in mtus.items()) or "no interface is seen"
    return graded("MTU", mtus.get("lo", 0), found, least=0, good=9000,
                  remedy="sudo ip link set lo mtu 65536; for a detector's interface 9000 (jumbo frames)")


def disk(runs: Path) -> Finding:
    """Room for what runs keep."""
    there = next(path for path in (runs.resolve(), *runs.resolve().parents) if path.exists())
    free = psutil.disk_usage(str(there)).free
    return graded("disk", free, f"{free / GIB:.1f} GiB free for {runs}", least=GIB, good=10 * GIB,
                  remedy="make room, or choose another disk with CAMLINK_RUNS or --folder")


def memory() -> Finding:
    """Memory that can be had without swapping."""
    free = psutil.virtual_memory().available
    return graded("memory", free, f"{free / GIB:.1f} GiB available", least=GIB // 2, good=2 * GIB,
                  remedy="end other programs, or lower the limits of links and the size of the scan")


def shared_memory() -> Finding:
    """Whether memory can be shared without a name, as links between processes of one host do."""
    try:
        file = os.memfd_create("camlink-doctor")
    except (AttributeError, OSError) as error:
        return Finding("shared memory", "warn", f"none ({error})", "links fall back to sockets, which copy")
    try:
        os.posix_fallocate(file, 0, 64 * MIB)
    except OSError as error:
        return Finding("shared memory", "refuse", f"64 MiB cannot be had ({error.strerror})",
                       "raise the memory limit of this session or container")
    finally:
        os.close(file)
    usage = psutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    return Finding("shared memory", "ok", "64 MiB had at once" + (
        f"; /dev/shm {usage.free / GIB:.1f} GiB free" if usage else ""))


def open_files() -> Finding:
    """Files and sockets that one process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return graded("open files", soft, f"{soft} (at most {hard})", least=128, good=1024,
                  remedy=f"ulimit -n {min(hard, 4096)}")


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), up to the fields that are read; the rest is room."""

    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
                ("room", ctypes.c_char * 256))


def clock() -> Finding:
    """Whether something keeps the clock right: times of frames and positions are compared across machines."""
    told = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told)) < 0:
        return Finding("clock", "warn", f"cannot be asked ({os.strerror(ctypes.get_errno())})", "check chrony or ntpd")
    if told.status & _STA_UNSYNC:
        return Finding("clock", "warn", "nothing keeps it right", "start chrony or ntpd; frames carry its time")
    return Finding("clock", "ok", f"kept right within {told.maxerror / 1e3:.0f} ms")


def load() -> Finding:
    """What else the processors are doing."""
    cores, busy = psutil.cpu_count() or 1, os.getloadavg()[0]
    return graded("processors", cores + 0.25 - busy, f"{cores} cores, load {busy:.1f}", least=-1e9, good=0.0,
                  remedy="others keep the processors busy: rates are going to be lower than predicted")


def speed() -> Finding:
    """How fast one core copies memory, best of a few."""
    source = np.ones(32 * MIB, np.uint8)
    target = np.empty_like(source)
    best_s = 1e9
    for _ in range(5):
        begun_s = time.perf_counter()
        np.copyto(target, source)
        best_s = min(best_s, time.perf_counter() - begun_s)
    rate = source.nbytes / best_s
    return graded("memory speed", rate, f"one core copies {rate / 1e9:.1f} GB/s", least=0.2e9, good=2e9,
                  remedy="look for a power-saving governor or a busy neighbour")


def gpu() -> Finding:
    """Graphics processors that the driver shows."""
    return Finding("GPU", "ok", ", ".join(gpu_models()) or "none: solvers run on the processors")


def socket_folder(sockets: Path) -> Finding:
    """The folder where runs make their sockets."""
    stem = sockets / f"camlink-{os.getpid()}-12345678" / "an-operator-of-some-length-0-0-0.shm"
    if not os.access(sockets, os.W_OK):
        return Finding("sockets", "refuse", f"{sockets} cannot be written", "set XDG_RUNTIME_DIR to a folder of yours")
    return graded("sockets", LONGEST_SOCKET_BYTES - len(str(stem)), f"in {sockets}", least=0, good=0,
                  remedy="too long for the path of a socket (107 bytes): set XDG_RUNTIME_DIR to a shorter folder")


def listener() -> Finding:
    """Whether this machine lets a program listen on loopback, as the page does."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return Finding("listeners", "ok", f"loopback gives ports, such as {server.getsockname()[1]}")
    except OSError as error:
        return Finding("listeners", "refuse", f"no port on loopback ({error.strerror})",
                       "the page and the twin need one: look at firewalls and network namespaces")
