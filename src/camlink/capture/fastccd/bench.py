"""Measure the capture: a simulated camera in its own process against the receiver, beside plain receive loops."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.capture.fastccd.assemble import Counters
from camlink.capture.fastccd.batch import DEFAULT_BUFFER_BYTES
from camlink.capture.fastccd.faults import NO_FAULTS, Faults, SentCounts
from camlink.capture.fastccd.geometry import Geometry, preset
from camlink.capture.fastccd.receiver import GREETING, Receiver, parse_address
from camlink.capture.fastccd.sim import Simulator
from camlink.capture.fastccd.udp import widen
from camlink.errors import PeerLost

NEEDED_MB_PER_S: Final = 240.0
START_S: Final = 60.0
QUIET_S: Final = 0.5
PATTERNS: Final = 4
SPREAD: Final = 0.7


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the sending process has to do."""

    geometry: Geometry
    frames: int
    payload_bytes: int = 4096
    packet_gap_s: float = 0.0
    period_s: float = 0.0
    faults: Faults = NO_FAULTS


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One measured run: rates are those of the receiver, from the first to the last datagram."""

    payload_MB_per_s: float
    packets: int
    packets_per_s: float
    frames_per_s: float
    lost_packets: int
    cpu_s_per_GB: float
    cores_used: float
    receive_buffer_bytes: int
    dropped_by_this_machine: int
    sent: SentCounts
    counters: Counters | None = None
    images_checked: bool = False


def pattern(geometry: Geometry, number: int) -> NDArray[np.uint16]:
    """The image (2 rows, 96 chips) u16 that every frame `number` modulo 4 carries, no sample with the marker bit."""
    return np.random.default_rng(number % PATTERNS).integers(0, 0x2000, geometry.shape, dtype=np.uint16)


def serve(task: Task) -> None:
    """Be the sending process: say the address on standard output, wait for the receiver, send, say what was sent."""
    images = [pattern(task.geometry, number) for number in range(PATTERNS)]
    with Simulator(task.geometry, payload_bytes=task.payload_bytes, faults=task.faults, seed=1,
                   packet_gap_s=task.packet_gap_s) as camera:
        sys.stdout.write(camera.address + "\n")
        sys.stdout.flush()
        camera.wait_for_receiver(START_S)
        begun_s = time.perf_counter()
        for number in range(task.frames):
            time.sleep(max(0.0, begun_s + number * task.period_s - time.perf_counter()))
            camera.send(number, images[number % PATTERNS])
    sys.stdout.write(msgspec.json.encode(camera.counts).decode() + "\n")


def run_camlink(task: Task, *, check: bool = False) -> Run:
    """Receive with `Receiver`; with `check`, every image is compared to what was sent (outside of any timing)."""
    expected = [pattern(task.geometry, number) for number in range(PATTERNS)] if check else []
    pool = np.empty((16, *task.geometry.shape), np.uint16)
    turn = iter(range(1 << 62))

    def listen(address: str) -> Run:
        with Receiver(task.geometry, address=address, allocate=lambda: pool[next(turn) % len(pool)]) as receiver:
            clock, good = _Clock(), True
            while not clock.over(receiver.heard, receiver.silent_s):
                for frame in receiver.receive(0.05):
                    if check:
                        known = frame.image == expected[frame.number % PATTERNS]
                        good &= bool((frame.image[~known] == 0x2000).all()) and (frame.damaged or bool(known.all()))
                clock.note(receiver.assembler.seen)
            for _ in receiver.flush(task.frames - 1):
                pass
            counters = receiver.counters
            return clock.run(task, packets=counters.packets_ok, frames=counters.frames_ok + counters.frames_partial,
                             buffer=receiver.receive_buffer_bytes, dropped=receiver.dropped_here(),
                             counters=counters, checked=check and good)

    return _against(task, listen)


def run_backlog(geometry: Geometry, *, payload_bytes: int = 4096) -> Run:
    """Receive what waits in the socket already: the speed of one core when no sender competes for the machine.

    The backlog takes a quarter of the receive buffer, since the kernel counts about two bytes for each.
    """
    camera = Simulator(geometry, payload_bytes=payload_bytes, packet_gap_s=0.0)
    with camera, Receiver(geometry, address=camera.address) as receiver:
        images = [pattern(geometry, number) for number in range(PATTERNS)]
        frames = max(1, receiver.receive_buffer_bytes // 4 // geometry.bytes)
        task = Task(geometry=geometry, frames=frames, payload_bytes=payload_bytes)
        for _ in receiver.receive(0.0):
            pass
        camera.wait_for_receiver(START_S)
        for number in range(frames):
            camera.send(number, images[number % PATTERNS])
        clock = _Clock()
        clock.note(1)
        while receiver.counters.frames_ok < frames and not clock.over(True, receiver.silent_s - START_S):
            for _ in receiver.receive(0.0):
                pass
            clock.note(1 + receiver.assembler.seen)
        counters = receiver.counters
        return msgspec.structs.replace(
            clock.run(task, packets=counters.packets_ok, frames=counters.frames_ok,
                      buffer=receiver.receive_buffer_bytes, dropped=receiver.dropped_here(), counters=counters),
            sent=camera.counts, lost_packets=camera.counts.packets - counters.packets_ok)


def run_plain(task: Task) -> Run:
    """Receive with the shortest loop that there is: recv_into one buffer, count, throw away; no frames are made."""

    def listen(address: str) -> Run:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(QUIET_S)
            granted = widen(sock, DEFAULT_BUFFER_BYTES)
            sock.sendto(GREETING, parse_address(address))
            return _count(sock, task, granted)

    return _against(task, listen)


def _count(sock: socket.socket, task: Task, granted: int) -> Run:
    clock, packets, buffer = _Clock(), 0, bytearray(9216)
    full = 8 + task.payload_bytes
    deadline_s = time.perf_counter() + START_S
    while True:
        try:
            packets += sock.recv_into(buffer) >= full
        except TimeoutError:
            if packets or time.perf_counter() > deadline_s:
                break
            continue
        if not packets & 63:
            clock.note(packets)
    return clock.run(task, packets=packets, frames=0, buffer=granted, dropped=0)


class _Clock:
    """Wall and CPU time of this process between the first and the last datagram."""

    def __init__(self) -> None:
        self._limit_s = time.perf_counter() + START_S
        self._seen = 0
        self._from = self._to = (0.0, 0.0)

    def note(self, seen: int) -> None:
        """Look at the count of datagrams; time runs while it rises."""
        if seen != self._seen:
            self._to = (time.perf_counter(), _cpu_s())
            self._from = self._to if not self._seen else self._from
            self._seen = seen

    def over(self, heard: bool, silent_s: float) -> bool:
        """Whether the sender is silent, or never spoke."""
        return silent_s > QUIET_S if heard else time.perf_counter() > self._limit_s

    def run(self, task: Task, *, packets: int, frames: int, buffer: int, dropped: int,
            counters: Counters | None = None, checked: bool = False) -> Run:
        """The figures of the run; what was sent is filled in by the caller."""
        wall_s = max(self._to[0] - self._from[0], 1e-9)
        cpu_s = self._to[1] - self._from[1]
        nbytes = packets * task.payload_bytes
        return Run(payload_MB_per_s=nbytes / wall_s / 1e6, packets=packets, packets_per_s=packets / wall_s,
                   frames_per_s=frames / wall_s, lost_packets=0, cpu_s_per_GB=cpu_s / max(nbytes / 1e9, 1e-9),
                   cores_used=cpu_s / wall_s, receive_buffer_bytes=buffer, dropped_by_this_machine=dropped,
                   sent=SentCounts(), counters=counters, images_checked=checked)


def _cpu_s() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def _against(task: Task, listen: Callable[[str], Run]) -> Run:
    """Run `listen` against a sending process; raises PeerLost when that process fails."""
    command = [sys.executable, "-m", "camlink.capture.fastccd.bench", msgspec.json.encode(task).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        try:
            assert sender.stdout is not None
            run = listen(sender.stdout.readline().strip())
            out, _ = sender.communicate(timeout=START_S)
        finally:
            if sender.poll() is None:
                sender.kill()
    if sender.returncode:
        raise PeerLost(f"the sending process of the measurement ended with code {sender.returncode}; see its output")
    sent = msgspec.json.decode(out, type=SentCounts)
    return msgspec.structs.replace(run, sent=sent, lost_packets=sent.packets - run.packets)


def measure(case: str = "fastccd-udp", *, detector: str = "cosmic", seconds: float = 3.0,
            payload_bytes: int = 4096) -> dict[str, Any]:
    """Figures of the receiver as a record of one bench case; there is but one.

    Runs unpaced, paced at 240 MB/s (no packet may be lost), and with faults (every loss must be counted exactly);
    `beside` holds plain loops of the same run. Takes about 6 x `seconds`.
    """
    geometry = preset(detector)
    frames = max(4, round(seconds * NEEDED_MB_PER_S * 1e6 / geometry.bytes))
    free = Task(geometry=geometry, frames=frames, payload_bytes=payload_bytes)
    period_s = geometry.bytes / (NEEDED_MB_PER_S * 1e6)
    paced = msgspec.structs.replace(free, period_s=period_s,
                                    packet_gap_s=SPREAD * payload_bytes / (NEEDED_MB_PER_S * 1e6))
    faulty = msgspec.structs.replace(paced, frames=max(4, frames // 3), faults=Faults(
        drop_packets=0.002, drop_frames=0.05, burst=3, duplicate=0.002, reorder=0.002, truncate=0.001))
    fastest, steady, forced = run_camlink(free), run_camlink(paced), run_camlink(faulty, check=True)
    plain, backlog = run_plain(free), run_backlog(geometry, payload_bytes=payload_bytes)
    return {
        "case": case, "figure": round(fastest.payload_MB_per_s, 1), "unit": "MB/s",
        "beside": {"plain recv_into loop": round(plain.payload_MB_per_s, 1), "needed at 100 Hz": NEEDED_MB_PER_S,
                   "one core, packets waiting": round(backlog.payload_MB_per_s, 1)},
        "ratio": {"plain recv_into loop": round(fastest.payload_MB_per_s / max(plain.payload_MB_per_s, 1e-9), 3),
                  "needed at 100 Hz": round(fastest.payload_MB_per_s / NEEDED_MB_PER_S, 3)},
        "checked": steady.lost_packets == 0 and counted_exactly(forced),
        "note": _note(fastest, steady, forced, backlog),
        "runs": {"unpaced": msgspec.to_builtins(fastest), "paced": msgspec.to_builtins(steady),
                 "forced loss": msgspec.to_builtins(forced), "plain": msgspec.to_builtins(plain),
                 "backlog": msgspec.to_builtins(backlog)},
    }


def counted_exactly(run: Run) -> bool:
    """Whether the receiver counted each loss that the sender made, to the packet and to the frame."""
    made, seen = run.sent, run.counters
    return seen is not None and run.images_checked and (
        seen.packets_ok, seen.missing, seen.frames_partial, seen.frames_lost, seen.duplicate, seen.short,
    ) == (made.packets, made.packets_dropped + made.truncated, made.frames_damaged, made.frames_lost,
          made.duplicated, made.truncated)


def _note(fastest: Run, steady: Run, forced: Run, backlog: Run) -> str:
    return (f"unpaced: {fastest.packets_per_s:.0f} packets/s, {fastest.frames_per_s:.0f} frames/s, "
            f"{fastest.lost_packets} packets lost, {fastest.cpu_s_per_GB:.2f} CPU s/GB; "
            f"paced at {steady.payload_MB_per_s:.0f} MB/s: {steady.lost_packets} lost, {steady.cores_used:.2f} of one "
            f"core; forced loss counted {'exactly' if counted_exactly(forced) else 'WRONG'}: "
            f"{forced.sent.packets_dropped} packets dropped, {forced.sent.frames_lost} frames lost; "
            f"one core with packets waiting: {backlog.payload_MB_per_s:.0f} MB/s; receive buffer "
            f"{fastest.receive_buffer_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    serve(msgspec.json.decode(sys.argv[1], type=Task))
