"""What links and the disk of this machine carry, measured with the links themselves."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import zmq

from camlink.block import Block, Header, RawFrames, Scan
from camlink.carry.disk.journal import write_blocks
from camlink.carry.envelope import encode
from camlink.carry.kinds import make_inlet, make_outlet
from camlink.clock import now_s
from camlink.errors import PeerLost, StorageError
from camlink.runtime.doctor.finding import Finding, graded
from camlink.runtime.messages import LinkSpec

MEASURE_S: Final = 0.3
WAIT_S: Final = 5.0
SIDE: Final = 724
"""A frame of SIDE x SIDE 16-bit samples is 1 MiB."""


def link_rate(kind: Literal["shm", "zmq"], sockets: Path) -> float:
    """Bytes a second that one core hands over on a link of this kind in blocks of 1 MiB, both ends together.

    Raises PeerLost when nothing arrives.
    """
    block = _block()
    parts: list[Any] = encode(block)
    context: zmq.Context[Any] = zmq.Context()
    with tempfile.TemporaryDirectory(prefix="cd-", dir=sockets) as folder:
        outlet = make_outlet(context, kind, "doctor", f"{folder}/d")
        inlet = make_inlet(context, outlet.address, "doctor", "doctor")
        try:
            count, begun_s, sent = 0, 0.0, False
            deadline = time.monotonic() + WAIT_S
            while count < 3 or time.perf_counter() - begun_s < MEASURE_S:
                if time.monotonic() > deadline:
                    if count > 1:
                        break
                    raise PeerLost(f"a link of kind {kind} carried nothing in {WAIT_S:g} s")
                sent = sent or outlet.offer(block, parts)
                outlet.pump()
                if sent and inlet.receive() is not None:
                    inlet.release()
                    count, sent = count + 1, False
                    begun_s = begun_s or time.perf_counter()  # the first one only warms up
            return (count - 1) * block.nbytes / (time.perf_counter() - begun_s)
        finally:
            inlet.abandon()
            outlet.close()
            context.destroy(linger=0)


def disk_rate(runs: Path) -> float:
    """Bytes a second that journals and spills write where runs are kept, until they are on the disk.

    Raises StorageError.
    """
    block = _block()
    there = next(path for path in (runs.resolve(), *runs.resolve().parents) if path.exists())
    with tempfile.TemporaryDirectory(prefix="camlink-doctor-", dir=there) as folder:
        path = Path(folder) / "a.blocks"
        begun_s = time.perf_counter()
        write_blocks(path, *[block] * 32)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return 32 * block.nbytes / (time.perf_counter() - begun_s)


def look_at_rates(runs: Path, sockets: Path, links: tuple[LinkSpec, ...],
                  demand: dict[str, float]) -> Iterator[Finding]:
    """What each kind of link and the disk carry; for `links` what that means, against `demand` [bytes/s] by name."""
    rates: dict[str, float] = {}
    for kind in ("shm", "zmq"):
        try:
            rates[kind] = link_rate(kind, sockets)
        except PeerLost as error:
            yield Finding(f"{kind} links", "refuse", str(error), "choose another kind with `link:` in the workflow")
            continue
        yield Finding(f"{kind} links", "ok", f"{rates[kind] / 1e6:.0f} MB/s, {rates[kind] / (1 << 20):.0f} frames/s "
                                             "of 1 MiB, with one core")
    try:
        written = disk_rate(runs)
    except (StorageError, OSError) as error:
        yield Finding("disk speed", "refuse", str(error), "choose another disk with CAMLINK_RUNS or --folder")
        return
    yield graded("disk speed", written, f"{written / 1e6:.0f} MB/s until it is on the disk", least=0, good=100e6,
                 remedy="journals and spills of a fast scan do not fit through: choose a faster disk")
    yield from _for_links(links, {**rates, "memory": float("inf")}, written, demand)


def _for_links(links: tuple[LinkSpec, ...], rates: dict[str, float], written: float,
               demand: dict[str, float]) -> Iterator[Finding]:
    for link in links:
        if link.kind not in rates or rates[link.kind] == float("inf"):
            continue
        rate = min(rates[link.kind], written) if link.policy == "spill" else rates[link.kind]
        wanted = demand.get(link.name, 0.0)
        found = f"{rate / 1e6:.0f} MB/s sustained ({link.kind}, {link.policy})"
        if wanted:
            found += f", {wanted / 1e6:.1f} MB/s wanted"
        yield graded(f"link {link.name}", rate / wanted if wanted else 1e9, found, least=1.0, good=2.0,
                     remedy="lower the rate, or bin frames early: a link should carry twice what is wanted")


def _block() -> Block:
    scan = Scan(id="doctor", expected=1, shape=(SIDE, SIDE), pixel_m=(1e-5, 1e-5), distance_m=1.0, energy_eV=800.0,
                span_m=(0.0, 0.0, 0.0, 0.0))
    one = np.zeros(1, np.int64)
    return RawFrames(Header(scan=scan, made_s=now_s()), {
        "frames": np.zeros((1, SIDE, SIDE), np.uint16), "index": one, "point": one, "kind": np.zeros(1, np.uint8),
        "dwell_s": np.ones(1), "position_m": np.zeros((1, 2)), "time_s": np.ones(1)})
