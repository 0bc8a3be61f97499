"""What links between machines carry: direct with CURVE and through a relay, beside hand-written pyzmq in one run."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import zmq

from camlink.block import Block, Header, Result, Scan
from camlink.carry.admission import Admission
from camlink.carry.envelope import encode
from camlink.carry.far import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.gate import CallGate, OfferGate
from camlink.carry.keys import Keys, make_keys
from camlink.carry.relay import Relay
from camlink.carry.ticket import RelayKey, Ticket
from camlink.clock import now_s
from camlink.errors import PeerLost

FRAME_BYTES: Final = 1 << 20
FRAMES: Final = 400
ROUNDS: Final = 3
LANES: Final = 4
DISTINCT: Final = 31
PATIENCE_S: Final = 60.0
_CREDIT_BYTES: Final = 32 << 20
_SCAN: Final = Scan(id="bench", expected=FRAMES, shape=(512, 512), pixel_m=(1e-5, 1e-5), distance_m=1.0,
                    energy_eV=800.0, span_m=(0.0, 0.0, 1.0, 1.0))


class Route(NamedTuple):
    """How one lane of a measurement goes: hand-written, or ours, direct or through a relay."""

    hand: bool
    keys: dict[str, Keys]
    offer: Ticket | None = None
    call: Ticket | None = None
    lane: str = ""
    folder: str = ""
    nbytes: int = FRAME_BYTES
    frames: int = FRAMES
    pause_s: float = 0.0


class Measured(NamedTuple):
    """When the first and the last frame of a lane arrived [s, monotonic], whether all were right, and the hop [ms]."""

    first_s: float
    last_s: float
    good: bool
    hop_ms: float


def measure(case: str) -> dict[str, Any]:
    """Case `curve-tcp` or `relay`."""
    return _curve() if case == "curve-tcp" else _relayed()


def _curve() -> dict[str, Any]:
    """Case `curve-tcp`: MB/s of one encrypted lane, beside pyzmq CURVE by hand, and several lanes at once."""
    ours: list[float] = []
    hand: list[float] = []
    lanes: list[float] = []
    good = True
    for _ in range(ROUNDS):
        for figures, count, by_hand in ((hand, 1, True), (ours, 1, False), (lanes, LANES, False)):
            figure, right = _rate([_route(by_hand, FRAMES if count == 1 else FRAMES // 2) for _ in range(count)])
            figures.append(figure)
            good = good and right
    ratio = statistics.median(a / b for a, b in zip(ours, hand, strict=True))
    gain = statistics.median(a / b for a, b in zip(lanes, ours, strict=True))
    (quiet,) = _run([_route(False, 200)._replace(nbytes=4096, pause_s=0.002)])
    return {"case": "curve-tcp", "figure": round(statistics.median(ours), 1), "unit": "MB/s",
            "beside": {"pyzmq CURVE by hand": round(statistics.median(hand), 1),
                       f"{LANES} lanes at once": round(statistics.median(lanes), 1)},
            "ratio": {"pyzmq CURVE by hand": round(ratio, 3), "lanes over one": round(gain, 3)},
            "checked": good and quiet.good,
            "note": f"frames of 1 MiB, {ROUNDS} rounds in turn, medians; a block of 4 KiB takes {quiet.hop_ms:.2f} ms"}


def _relayed() -> dict[str, Any]:
    """Case `relay`: MB/s of one lane through a relay with both ends dialling outward, beside the direct lane."""
    through: list[float] = []
    direct: list[float] = []
    hand: list[float] = []
    good = True
    with _relay() as (address, key), tempfile.TemporaryDirectory(prefix="camlink-bench-") as folder:
        offer, call = key.ticket(address, "bench", "offer", 3600), key.ticket(address, "bench", "call", 3600)

        def relayed(number: int, frames: int) -> Route:
            return _route(False, frames)._replace(offer=offer, call=call, lane=f"lane {number}", folder=folder)

        for number in range(ROUNDS):
            for figures, route in ((hand, _route(True, FRAMES)), (direct, _route(False, FRAMES)),
                                   (through, relayed(number, FRAMES))):
                figure, right = _rate([route])
                figures.append(figure)
                good = good and right
        (quiet,) = _run([relayed(ROUNDS, 200)._replace(nbytes=4096, pause_s=0.002)])
    return {"case": "relay", "figure": round(statistics.median(through), 1), "unit": "MB/s",
            "beside": {"direct": round(statistics.median(direct), 1),
                       "pyzmq CURVE by hand, direct": round(statistics.median(hand), 1)},
            "ratio": {"direct": round(statistics.median(a / b for a, b in zip(through, direct, strict=True)), 3)},
            "checked": good and quiet.good,
            "note": f"frames of 1 MiB, {ROUNDS} rounds in turn, medians; a block of 4 KiB takes {quiet.hop_ms:.2f} ms"}


def _route(hand: bool, frames: int) -> Route:
    return Route(hand, make_keys("bench", {SENDER: [RECEIVER], RECEIVER: [SENDER]}), frames=frames)


def _rate(routes: list[Route]) -> tuple[float, bool]:
    """MB/s of all lanes together, and whether every frame arrived unharmed."""
    found = _run(routes)
    nbytes = sum(route.nbytes * (route.frames - 1) for route in routes)
    seconds = max(lane.last_s for lane in found) - min(lane.first_s for lane in found)
    return nbytes / 1e6 / seconds, all(lane.good for lane in found)


def _run(routes: list[Route]) -> list[Measured]:
    """Run a sender and a receiver process for each lane."""
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(len(routes))
    started: list[Any] = []
    ends: list[Connection] = []
    for route in routes:
        ours, theirs = spawn.Pipe()
        here, there = spawn.Pipe()
        send = spawn.Process(target=_hand_send if route.hand else _send, args=(route, there, together), daemon=True)
        take = spawn.Process(target=_hand_take if route.hand else _take, args=(route, here, theirs), daemon=True)
        send.start()
        take.start()
        started += [send, take]
        ends.append(ours)
    try:
        return [_answer(end) for end in ends]
    finally:
        for process in started:
            process.join(5)
            process.kill()
            process.join()


def _answer(end: Connection) -> Measured:
    if not end.poll(PATIENCE_S):
        raise PeerLost(f"the measurement of a link did not end in {PATIENCE_S:g} s; is the machine overloaded?")
    return Measured(*end.recv())


def _block(route: Route, number: int) -> Block:
    return Result(Header(scan=_SCAN, made_s=now_s(), sequence=number),
                  {"frame": np.full(route.nbytes, number % DISTINCT, np.uint8)})


def _send(route: Route, there: Connection, together: Any) -> None:
    context: zmq.Context[Any] = zmq.Context()
    with ExitStack() as stack:
        admission = Admission(context)
        address = f"ipc://{route.folder}/{route.lane}.out" if route.offer else "tcp://127.0.0.1:*"
        outlet = FarOutlet(context, address, "bench", route.keys[SENDER], admission, limit_bytes=_CREDIT_BYTES)
        if route.offer:
            stack.enter_context(OfferGate(route.offer, route.lane, address.removeprefix("ipc://")))
        there.send(outlet.address)
        _pump_until(outlet, lambda: outlet.ready)
        blocks = [_block(route, number) for number in range(min(route.frames, DISTINCT))]
        parts = [encode(block) for block in blocks]
        together.wait(PATIENCE_S)
        for number in range(route.frames):
            block = _block(route, number) if route.pause_s else blocks[number % DISTINCT]
            encoded = encode(block) if route.pause_s else parts[number % DISTINCT]
            while not outlet.offer(block, encoded):
                outlet.pollable.poll(100)
            time.sleep(route.pause_s)
        outlet.finish()
        _pump_until(outlet, lambda: outlet.finished)
        outlet.close()
        admission.close()
    context.term()


def _pump_until(outlet: FarOutlet, true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < deadline_s:
        outlet.pollable.poll(20)
        outlet.pump()


def _take(route: Route, here: Connection, answer: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    with ExitStack() as stack:
        address = here.recv()
        if route.call:
            gate = stack.enter_context(CallGate(route.call, route.lane, Path(route.folder) / f"{route.lane}.in"))
            address = f"ipc://{gate.path}"
        inlet = FarInlet(context, address, "bench", route.keys[RECEIVER], "b")
        times: list[float] = []
        good = True
        while not inlet.ended:
            inlet.pollable.poll(100)
            while (block := inlet.receive()) is not None:
                times.append(time.monotonic())
                good = good and _is_right(block.arrays["frame"], (len(times) - 1) % DISTINCT, route)
                del block
                inlet.release()
        answer.send((times[0], times[-1], good and len(times) == route.frames, inlet.account.snapshot().hop_ms(0.5)))
        inlet.close()
        context.term()


def _is_right(frame: Any, value: int, route: Route) -> bool:
    return bool(frame.nbytes == route.nbytes and frame[0] == frame[-1] == value)


def _hand_send(route: Route, there: Connection, together: Any) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, _CREDIT_BYTES // route.nbytes)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, route.keys[SENDER].secret.encode())
    there.send(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
    frames = [np.full(route.nbytes, value, np.uint8) for value in range(DISTINCT)]
    together.wait(PATIENCE_S)
    for number in range(route.frames):
        socket.send(frames[number % DISTINCT], copy=False)
    there.poll(PATIENCE_S)
    socket.close()
    context.term()


def _hand_take(route: Route, here: Connection, answer: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, _CREDIT_BYTES // route.nbytes)
    socket.setsockopt(zmq.CURVE_SERVERKEY, route.keys[RECEIVER].pin(SENDER))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, route.keys[RECEIVER].public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, route.keys[RECEIVER].secret.encode())
    socket.connect(here.recv())
    times, good = [], True
    for number in range(route.frames):
        frame = np.frombuffer(socket.recv(copy=False).buffer, np.uint8)
        times.append(time.monotonic())
        good = good and _is_right(frame, number % DISTINCT, route)
    answer.send((times[0], times[-1], good, 0.0))
    here.send("done")
    socket.close()
    context.term()


class _relay:
    """A relay in a process of its own."""

    def __enter__(self) -> tuple[str, RelayKey]:
        spawn = multiprocessing.get_context("spawn")
        secret = b"bench" * 6 + b"!!"
        ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(secret, theirs), daemon=True)
        self._process.start()
        if not ours.poll(PATIENCE_S):
            raise PeerLost("the relay of the measurement did not start")
        return str(ours.recv()), RelayKey(secret)

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()


def _serve(secret: bytes, answer: Connection) -> None:
    relay = Relay(RelayKey(secret))
    answer.send(relay.address)
    threading.Thread(target=relay.run, daemon=True).start()
    threading.Event().wait()
