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
ROUNDS: Final = 5
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
    """Between the first frame and the last [s], CPU time of both ends [s], whether all were right, and the hop [ms]."""

    wall_s: float
    cpu_s: float
    good: bool
    hop_ms: float


class Rate(NamedTuple):
    """MB/s, and CPU time of both ends together [ns] for each byte, which the load of a machine touches less."""

    mb_per_s: float
    cpu_ns: float


def measure(case: str) -> dict[str, Any]:
    """Case `curve-tcp` or `relay`."""
    return _curve() if case == "curve-tcp" else _relayed()


def _curve() -> dict[str, Any]:
    """Case `curve-tcp`: MB/s of one encrypted lane, beside pyzmq CURVE by hand."""
    ours: list[Rate] = []
    hand: list[Rate] = []
    good = True
    for _ in range(ROUNDS):
        for figures, by_hand in ((hand, True), (ours, False)):
            figure, right = _rate(_route(by_hand, FRAMES))
            figures.append(figure)
            good = good and right
    quiet = _run(_route(False, 200)._replace(nbytes=4096, pause_s=0.002))
    return {"case": "curve-tcp", "figure": _median(ours), "unit": "MB/s",
            "beside": {"pyzmq CURVE by hand": _median(hand)},
            "ratio": {"pyzmq CURVE by hand": _ratio(ours, hand)},
            "checked": good and quiet.good, "note": _note({"ours": ours, "by hand": hand}, quiet)}


def _relayed() -> dict[str, Any]:
    """Case `relay`: MB/s of one lane through a relay with both ends dialling outward, beside the direct lane."""
    through: list[Rate] = []
    direct: list[Rate] = []
    hand: list[Rate] = []
    good = True
    with _relay() as (address, key), tempfile.TemporaryDirectory(prefix="camlink-bench-") as folder:
        offer, call = key.ticket(address, "bench", "offer", 3600), key.ticket(address, "bench", "call", 3600)

        def relayed(number: int, frames: int) -> Route:
            return _route(False, frames)._replace(offer=offer, call=call, lane=f"lane {number}", folder=folder)

        for number in range(ROUNDS):
            for figures, route in ((hand, _route(True, FRAMES)), (direct, _route(False, FRAMES)),
                                   (through, relayed(number, FRAMES))):
                figure, right = _rate(route)
                figures.append(figure)
                good = good and right
        quiet = _run(relayed(ROUNDS, 200)._replace(nbytes=4096, pause_s=0.002))
    return {"case": "relay", "figure": _median(through), "unit": "MB/s",
            "beside": {"direct": _median(direct), "pyzmq CURVE by hand, direct": _median(hand)},
            "ratio": {"direct": _ratio(through, direct)},
            "checked": good and quiet.good, "note": _note({"ends by relay": through, "direct": direct}, quiet)}


def _median(rates: list[Rate]) -> float:
    return round(statistics.median(rate.mb_per_s for rate in rates), 1)


def _ratio(rates: list[Rate], others: list[Rate]) -> float:
    return round(statistics.median(a.mb_per_s / b.mb_per_s for a, b in zip(rates, others, strict=True)), 3)


def _note(rates: dict[str, list[Rate]], quiet: Measured) -> str:
    cpu = ", ".join(f"{name} {statistics.median(rate.cpu_ns for rate in some):.2f}" for name, some in rates.items())
    return (f"frames of 1 MiB, {ROUNDS} rounds in turn, medians; CPU time of both ends in ns a byte: {cpu}; "
            f"a block of 4 KiB takes {quiet.hop_ms:.2f} ms")


def _route(hand: bool, frames: int) -> Route:
    return Route(hand, make_keys("bench", {SENDER: [RECEIVER], RECEIVER: [SENDER]}), frames=frames)


def _rate(route: Route) -> tuple[Rate, bool]:
    """How fast a lane is, and whether every frame arrived unharmed."""
    found = _run(route)
    nbytes = route.nbytes * (route.frames - 1)
    return Rate(nbytes / 1e6 / found.wall_s, found.cpu_s / nbytes * 1e9), found.good


def _run(route: Route) -> Measured:
    """Run a sender and a receiver process."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    here, there = spawn.Pipe()
    started = [spawn.Process(target=_hand_send if route.hand else _send, args=(route, there), daemon=True),
               spawn.Process(target=_hand_take if route.hand else _take, args=(route, here, theirs), daemon=True)]
    for process in started:
        process.start()
    try:
        return _answer(ours)
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


def _send(route: Route, there: Connection) -> None:
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
        begun_s = time.process_time()
        for number in range(route.frames):
            block = _block(route, number) if route.pause_s else blocks[number % DISTINCT]
            encoded = encode(block) if route.pause_s else parts[number % DISTINCT]
            while not outlet.offer(block, encoded):
                outlet.pollable.poll(100)
            if route.pause_s:
                time.sleep(route.pause_s)
        outlet.finish()
        _pump_until(outlet, lambda: outlet.finished)
        there.send(time.process_time() - begun_s)
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
        begun_s = 0.0
        good = True
        while not inlet.ended:
            inlet.pollable.poll(100)
            while (block := inlet.receive()) is not None:
                times.append(time.monotonic())
                begun_s = begun_s or time.process_time()
                good = good and _is_right(block.arrays["frame"], (len(times) - 1) % DISTINCT, route)
                del block
                inlet.release()
        cpu_s = time.process_time() - begun_s
        inlet.close()  # the sender ends when it hears this
        answer.send((times[-1] - times[0], cpu_s + here.recv(), good and len(times) == route.frames,
                     inlet.account.snapshot().hop_ms(0.5)))
        context.term()


def _is_right(frame: Any, value: int, route: Route) -> bool:
    return bool(frame.nbytes == route.nbytes and frame[0] == frame[-1] == value)


def _hand_send(route: Route, there: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, _CREDIT_BYTES // route.nbytes)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, route.keys[SENDER].secret.encode())
    there.send(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
    frames = [np.full(route.nbytes, value, np.uint8) for value in range(DISTINCT)]
    begun_s = time.process_time()
    for number in range(route.frames):
        socket.send(frames[number % DISTINCT], copy=False)
    if there.poll(PATIENCE_S):
        there.send(time.process_time() - begun_s)
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
    times, good, begun_s = [], True, 0.0
    for number in range(route.frames):
        frame = np.frombuffer(socket.recv(copy=False).buffer, np.uint8)
        times.append(time.monotonic())
        begun_s = begun_s or time.process_time()
        good = good and _is_right(frame, number % DISTINCT, route)
    cpu_s = time.process_time() - begun_s
    here.send("done")
    answer.send((times[-1] - times[0], cpu_s + here.recv(), good, 0.0))
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
